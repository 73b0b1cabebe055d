/* The search behind indexers/probing.py, which explains it: from queries to answers over cells of 4-bit codes.

   Cells(matrix, centroids, books, codes, ids, middle, ranges, stored, shape, level)

     matrix     float16 [d, w]        y = matrix · x[:w], of unit length; empty for y = x[:d], of unit length
     centroids  float16 [nlist, d]
     books      float32 [m, 16, d/m]  what a code of each subspace stands for
     codes      nlist buffers         FAISS' FastScan blocks of 32 rows, each ceil(m / 2) · 32 bytes
     ids        nlist buffers         int64, row numbers
     middle     uint8 [n, d]          each row in a byte a number, or nothing
     ranges     float32 [2, d]        the least value of each number, and how far it ranges; or nothing
     stored     float16 or float32 [n, D]: what answers are scored by
     shape      (D, d, w, nlist, m, n, bytes of a stored number, whether codes are of what is left of the centroid)
     level      0 for the best this processor has, or 2 for AVX2, 4 for AVX-512, 5 for AVX-512 with GFNI

   Cells.search(xq, k, nprobe, margin, middle, shortlist, allowed, scores, ids, visited)

     xq         float32 [nq, D]
     nprobe     cells a query visits at most, the nearest first
     margin     a row is taken to score at most so much more than the centroid of its cell: cells that then have
                none for the shortlist, by what the best cells hold, are left out. Infinite: all nprobe are visited
     middle     rows that are scored again from their bytes; 0: none
     shortlist  rows that are then scored from the stored vectors; 0: none, answers have the scores they have by then
     allowed    uint8 [ceil(n / 8)] bitmap of rows that may be answered, least significant bit first; empty for all
     scores     float32 [nq, k], written; of stored vectors within [-1, 1]; -inf where there is no answer
     ids        int64 [nq, k], written; -1 where there is none
     visited    int64 [nq], written: codes that were looked at

   Sizes are checked before a byte is read, row numbers when they are. The interpreter lock is released meanwhile.

   The layout of the codes and the scan are those of FastScan (André et al. 2015, FAISS' pq4_fast_scan); here table
   entries are so small that four are added before they are widened. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 64    /* rows of a matrix that lie side by side */
#define GROUP 8     /* queries that pass over a matrix together */
#define TOGETHER 4  /* of them in registers */
#define BLOCK 32    /* rows a block of codes */
#define CHUNK 8     /* blocks between two looks at the threshold */
#define TOP 253     /* for the entries of four subspaces together, which are added in a byte; the rest is for rounding */
#define GROUPED 16  /* subspaces whose entries are added four by four: s, s + 4, s + 8 and s + 12 */
#define WIDE 60000  /* for the entries of all subspaces, with room for the rounding of 4096 */
#define ROUNDING 0.0625f /* steps that the sum needed for a threshold may be off, however exact the threshold is */
#define MOST_NUMBER 0x1p60f /* in a code book: sums of products stay finite */
#define BINS 4096   /* of scores between -2 and 2, for the threshold */
#define PART 512    /* queries that are searched together, at most */
#define POOLED (1 << 18) /* candidates they may have, where it is more than one query */
#define TURNS (1 << 17) /* cells they may still have to visit, likewise */
#define HEAD 8      /* cells of each that are visited first, the best first; the others in the order of cells */
#define DIGIT 11    /* bits of a row number that one pass of sorting looks at */
#define AHEAD 4     /* stored rows fetched before they are needed */
#define MIDDLE_AHEAD 16 /* rows of bytes */
#define STEPS 255.0f /* of a byte; its value is taken from the middle of its step, as FAISS does */
#define ALIGNED 64
#define LINE 64

#if defined(__GNUC__) && !defined(__clang__) && defined(__linux__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif
#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")))

typedef float Wide __attribute__((vector_size(64), aligned(4), may_alias));

typedef struct {
    float score;
    uint32_t query; /* among those of a part */
    int64_t row;
} Candidate;

/* Codes of some blocks: sums of table entries, and a bit for each row that reaches a threshold. */
typedef void (*ScanBlocks)(const uint8_t *codes, int64_t blocks, int64_t pairs, const uint8_t *table, uint16_t needed,
                           uint16_t (*sums)[BLOCK], uint32_t *reached);
typedef void (*Multiply)(const uint16_t *matrix, int64_t rows, int64_t dim, const float *x, int64_t stride,
                         int64_t count, float *out);
typedef float (*Dot)(const void *row, const float *q, int64_t dim);

typedef struct {
    PyObject_HEAD
    Py_buffer stored, middle;
    Py_buffer *codes, *ids; /* [nlist] each */
    int64_t held;           /* of each, how many are ours to release */
    uint16_t *matrix;       /* [ceil(d / 64)][w][64]; NULL: the identity */
    uint16_t *centroids;    /* [ceil(nlist / 64)][d][64] */
    float *books;           /* [m][d / m][16] */
    float *ranges;          /* [2][d] */
    int64_t full_dim, dim, width, nlist, m, n, number, residual;
    ScanBlocks scan;
    Multiply multiply;
    Dot dot, dot_bytes;
} Cells;

/* A query of a part. */
typedef struct {
    const uint8_t *table;
    float base, step;
    int64_t most; /* no sum of table entries is larger */
    float threshold; /* enough rows reach it */
    Candidate *found;
    int64_t count, visited;
} Query;

/* A cell that a query has yet to visit. */
typedef struct {
    uint32_t cell, query;
    float score; /* of the centroid */
} Turn;

/* What one call works with. */
typedef struct {
    char *block; /* all that follows lies in it */
    float *y, *centroid_scores;
    uint32_t *ranks; /* of the centroids' scores */
    uint64_t *heap;  /* of cells to visit */
    uint8_t *tables;
    float *exact, *ranges;
    int64_t wanted, room; /* candidates of a query: that are kept, and that there is room for */
    int64_t above, floor; /* of the query that begins: candidates in bins from `floor` on */
    uint32_t bins[BINS];
    int64_t part, queries;  /* in a part at most, and now */
    Query *asked;           /* [part] */
    Turn *turns, *sorted;
    uint32_t *places;       /* [nlist + 1] */
    int64_t turn_count, turn_room;
    float *weights, *bases; /* [part, d] and [part]: a query to bytes */
    Candidate *pool;        /* [part, room] while cells are visited; then those of all queries, one after the other */
    int64_t *starts;        /* in the pool, from starts[i] to starts[i + 1] those of the i-th query */
    uint64_t *keys, *spare; /* row numbers of the pool, and places in it */
} Scratch;

/* Vectors in memory that candidates are scored by. */
typedef struct {
    const char *at;
    int64_t bytes, dim, ahead;
    Dot dot;
} Rows;

typedef struct {
    const float *xq;
    int64_t nq, k, nprobe, middle, shortlist;
    float margin;
    const uint8_t *allowed;
    float *scores;
    int64_t *ids, *visited;
} Order;

static int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/* Of a query's table: whole pairs of steps of the scan. */
static int64_t table_bytes(const Cells *cells) { return up(cells->m * 16, 128); }

/* -- matrices ------------------------------------------------------------------------------- */

/* Multiply a matrix of float16, whose rows lie 64 by 64 side by side, with some vectors; out is [count, rows], where
   `rows` counts those that pad the last 64 as well. Read from memory once a group, it is half as long as in float32. */

AVX512
static inline __attribute__((always_inline)) void lanes_512(const uint16_t *block, int64_t dim, const float *x,
                                                            int64_t stride, int count, float *out, int64_t rows)
{
    __m512 sums[TOGETHER][4];
    for (int i = 0; i < count; i++)
        for (int l = 0; l < 4; l++)
            sums[i][l] = _mm512_setzero_ps();
    for (int64_t j = 0; j < dim; j++, block += LANES) {
        __m512 line[4];
        for (int l = 0; l < 4; l++)
            line[l] = _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(block + 16 * l)));
        for (int i = 0; i < count; i++)
            for (int l = 0; l < 4; l++)
                sums[i][l] = _mm512_fmadd_ps(line[l], _mm512_set1_ps(x[i * stride + j]), sums[i][l]);
    }
    for (int i = 0; i < count; i++)
        for (int l = 0; l < 4; l++)
            _mm512_storeu_ps(out + i * rows + 16 * l, sums[i][l]);
}

AVX512
static void multiply_512(const uint16_t *matrix, int64_t rows, int64_t dim, const float *x, int64_t stride,
                         int64_t count, float *out)
{
    for (int64_t at = 0; at < rows; at += LANES) {
        int64_t i = 0;
        for (; i + TOGETHER <= count; i += TOGETHER)
            lanes_512(matrix + at * dim, dim, x + i * stride, stride, TOGETHER, out + i * rows + at, rows);
        for (; i < count; i++)
            lanes_512(matrix + at * dim, dim, x + i * stride, stride, 1, out + i * rows + at, rows);
    }
}

AVX2
static void multiply_256(const uint16_t *matrix, int64_t rows, int64_t dim, const float *x, int64_t stride,
                         int64_t count, float *out)
{
    for (int64_t at = 0; at < rows; at += LANES)
        for (int64_t i = 0; i < count; i++) {
            const uint16_t *block = matrix + at * dim;
            __m256 sums[8];
            for (int l = 0; l < 8; l++)
                sums[l] = _mm256_setzero_ps();
            for (int64_t j = 0; j < dim; j++, block += LANES) {
                __m256 number = _mm256_set1_ps(x[i * stride + j]);
                for (int l = 0; l < 8; l++)
                    sums[l] = _mm256_fmadd_ps(
                        _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(block + 8 * l))), number, sums[l]);
            }
            for (int l = 0; l < 8; l++)
                _mm256_storeu_ps(out + i * rows + at + 8 * l, sums[l]);
        }
}

/* -- scanning ------------------------------------------------------------------------------- */

/* In a block, 32 bytes are two subspaces: 16 bytes each, low nibbles rows 0, 8, 1, 9, … 15, high ones 16, 24, … */

/* Four tables are added in bytes, then widened: rows of even bytes, and rows of odd ones times 256, add up in `all`,
   the odd ones alone in `odd`. */
typedef struct {
    __m512i all[2], odd[2]; /* of low and of high nibbles */
} Sums512;

AVX512
static inline __attribute__((always_inline)) void widen_512(Sums512 *sums, __m512i low, __m512i high)
{
    sums->all[0] = _mm512_add_epi16(sums->all[0], low);
    sums->odd[0] = _mm512_add_epi16(sums->odd[0], _mm512_srli_epi16(low, 8));
    sums->all[1] = _mm512_add_epi16(sums->all[1], high);
    sums->odd[1] = _mm512_add_epi16(sums->odd[1], _mm512_srli_epi16(high, 8));
}

/* Bytes shifted by four. There is nothing but arithmetic in a scan, so that one instruction for two is a tenth of it;
   in words, since who inlines this does not say that the processor has it. */
AVX512
static inline __attribute__((always_inline)) __m512i upper_512(__m512i codes, int gfni)
{
    if (!gfni)
        return _mm512_and_si512(_mm512_srli_epi16(codes, 4), _mm512_set1_epi8(15));
    const __m512i matrix = _mm512_set1_epi64(0x1020408000000000); /* bits 7 to 4 of a byte as 3 to 0 */
    __m512i upper;
    __asm__("vgf2p8affineqb $0, %2, %1, %0" : "=v"(upper) : "v"(codes), "v"(matrix));
    return upper;
}

AVX512
static inline __attribute__((always_inline)) void look_512(__m512i codes, __m512i table, int gfni, __m512i *low,
                                                           __m512i *high)
{
    __m512i lower = _mm512_and_si512(codes, _mm512_set1_epi8(15));
    *low = _mm512_add_epi8(*low, _mm512_shuffle_epi8(table, lower));
    *high = _mm512_add_epi8(*high, _mm512_shuffle_epi8(table, upper_512(codes, gfni)));
}

/* The sums of 32 rows, in order. */
AVX512
static inline __attribute__((always_inline)) __m512i in_order_512(const Sums512 *sums)
{
    /* Each has four lanes to add: rows 0 to 7, 8 to 15, 16 to 23, 24 to 31. */
    __m512i a = _mm512_sub_epi16(sums->all[0], _mm512_slli_epi16(sums->odd[0], 8)), b = sums->odd[0];
    __m512i c = _mm512_sub_epi16(sums->all[1], _mm512_slli_epi16(sums->odd[1], 8)), d = sums->odd[1];
    a = _mm512_add_epi16(_mm512_shuffle_i64x2(a, c, 0x44), _mm512_shuffle_i64x2(a, c, 0xee));
    b = _mm512_add_epi16(_mm512_shuffle_i64x2(b, d, 0x44), _mm512_shuffle_i64x2(b, d, 0xee));
    a = _mm512_add_epi16(_mm512_shuffle_i64x2(a, b, 0x88), _mm512_shuffle_i64x2(a, b, 0xdd));
    return _mm512_shuffle_i64x2(a, a, 0xd8);
}

/* Scan `count` blocks, one or two, at once. */
AVX512
static inline __attribute__((always_inline)) void scan_some_512(const uint8_t *codes, int count, int64_t bytes,
                                                                const uint8_t *table, __m512i least, int gfni,
                                                                uint16_t (*sums)[BLOCK], uint32_t *reached)
{
    const __m512i zero = _mm512_setzero_si512();
    Sums512 found[2] = {{{zero, zero}, {zero, zero}}, {{zero, zero}, {zero, zero}}};
    int64_t at = 0;
    for (; at + 256 <= bytes; at += 256) {
        __m512i low[2] = {zero, zero}, high[2] = {zero, zero};
        for (int i = 0; i < 4; i++) {
            __m512i entries = _mm512_load_si512(table + at + 64 * i);
            for (int b = 0; b < count; b++)
                look_512(_mm512_loadu_si512(codes + b * bytes + at + 64 * i), entries, gfni, &low[b],
                         &high[b]);
        }
        for (int b = 0; b < count; b++)
            widen_512(&found[b], low[b], high[b]);
    }
    for (; at < bytes; at += 64) {
        __mmask64 some = bytes - at >= 64 ? ~0ULL : 0xffffffffULL;
        for (int b = 0; b < count; b++) {
            __m512i low = zero, high = zero;
            look_512(_mm512_maskz_loadu_epi8(some, codes + b * bytes + at), _mm512_load_si512(table + at), gfni, &low,
                     &high);
            widen_512(&found[b], low, high);
        }
    }
    for (int b = 0; b < count; b++) {
        __m512i sum = in_order_512(&found[b]);
        _mm512_storeu_si512(sums[b], sum);
        reached[b] = _mm512_cmpge_epu16_mask(sum, least);
    }
}

AVX512
static inline __attribute__((always_inline)) void scan_all_512(const uint8_t *codes, int64_t blocks, int64_t pairs,
                                                               const uint8_t *table, uint16_t needed, int gfni,
                                                               uint16_t (*sums)[BLOCK], uint32_t *reached)
{
    const __m512i least = _mm512_set1_epi16((short)needed);
    int64_t b = 0, bytes = pairs * 32;
    for (; b + 2 <= blocks; b += 2)
        scan_some_512(codes + b * bytes, 2, bytes, table, least, gfni, sums + b, reached + b);
    if (b < blocks)
        scan_some_512(codes + b * bytes, 1, bytes, table, least, gfni, sums + b, reached + b);
}

AVX512
static void scan_512(const uint8_t *codes, int64_t blocks, int64_t pairs, const uint8_t *table, uint16_t needed,
                     uint16_t (*sums)[BLOCK], uint32_t *reached)
{
    scan_all_512(codes, blocks, pairs, table, needed, 0, sums, reached);
}

AVX512
static void scan_gfni(const uint8_t *codes, int64_t blocks, int64_t pairs, const uint8_t *table, uint16_t needed,
                      uint16_t (*sums)[BLOCK], uint32_t *reached)
{
    scan_all_512(codes, blocks, pairs, table, needed, 1, sums, reached);
}

typedef struct {
    __m256i all[2], odd[2];
} Sums256;

AVX2
static inline __attribute__((always_inline)) void widen_256(Sums256 *sums, __m256i low, __m256i high)
{
    sums->all[0] = _mm256_add_epi16(sums->all[0], low);
    sums->odd[0] = _mm256_add_epi16(sums->odd[0], _mm256_srli_epi16(low, 8));
    sums->all[1] = _mm256_add_epi16(sums->all[1], high);
    sums->odd[1] = _mm256_add_epi16(sums->odd[1], _mm256_srli_epi16(high, 8));
}

AVX2
static inline __attribute__((always_inline)) void look_256(const uint8_t *codes, const uint8_t *table, __m256i *low,
                                                           __m256i *high)
{
    const __m256i nibble = _mm256_set1_epi8(15), c = _mm256_loadu_si256((const __m256i *)codes);
    __m256i entries = _mm256_load_si256((const __m256i *)table);
    *low = _mm256_add_epi8(*low, _mm256_shuffle_epi8(entries, _mm256_and_si256(c, nibble)));
    *high = _mm256_add_epi8(
        *high, _mm256_shuffle_epi8(entries, _mm256_and_si256(_mm256_srli_epi16(c, 4), nibble)));
}

AVX2
static void scan_256(const uint8_t *codes, int64_t blocks, int64_t pairs, const uint8_t *table, uint16_t needed,
                     uint16_t (*sums)[BLOCK], uint32_t *reached)
{
    const __m256i zero = _mm256_setzero_si256();
    const __m256i least = _mm256_set1_epi16((short)needed);
    int64_t whole = pairs / 8 * 8;
    for (int64_t b = 0; b < blocks; b++, codes += pairs * BLOCK) {
        Sums256 found = {{zero, zero}, {zero, zero}};
        for (int64_t p = 0; p < whole; p += 8)
            for (int64_t half = p; half < p + 2; half++) {
                __m256i low = zero, high = zero;
                for (int64_t i = half; i < p + 8; i += 2)
                    look_256(codes + i * 32, table + i * 32, &low, &high);
                widen_256(&found, low, high);
            }
        for (int64_t p = whole; p < pairs; p++) {
            __m256i low = zero, high = zero;
            look_256(codes + p * 32, table + p * 32, &low, &high);
            widen_256(&found, low, high);
        }
        __m256i a1 = found.odd[0], a0 = _mm256_sub_epi16(found.all[0], _mm256_slli_epi16(a1, 8));
        __m256i b1 = found.odd[1], b0 = _mm256_sub_epi16(found.all[1], _mm256_slli_epi16(b1, 8));
        /* Two lanes to add each: rows 0 to 7, 8 to 15, then the other sixteen. */
        a0 = _mm256_add_epi16(_mm256_permute2x128_si256(a0, a1, 0x20), _mm256_permute2x128_si256(a0, a1, 0x31));
        b0 = _mm256_add_epi16(_mm256_permute2x128_si256(b0, b1, 0x20), _mm256_permute2x128_si256(b0, b1, 0x31));
        _mm256_storeu_si256((__m256i *)sums[b], a0);
        _mm256_storeu_si256((__m256i *)(sums[b] + 16), b0);
        a0 = _mm256_cmpeq_epi16(_mm256_max_epu16(a0, least), a0);
        b0 = _mm256_cmpeq_epi16(_mm256_max_epu16(b0, least), b0);
        reached[b] = (uint32_t)_mm256_movemask_epi8(_mm256_permute4x64_epi64(_mm256_packs_epi16(a0, b0), 0xd8));
    }
}

/* -- stored vectors --------------------------------------------------------------------------- */

AVX512
static float dot_half_512(const void *row, const float *q, int64_t dim)
{
    const uint16_t *x = row;
    __m512 a = _mm512_setzero_ps(), b = a;
    int64_t j = 0;
    for (; j + 32 <= dim; j += 32) {
        a = _mm512_fmadd_ps(_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(x + j))), _mm512_loadu_ps(q + j), a);
        b = _mm512_fmadd_ps(_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(x + j + 16))),
                            _mm512_loadu_ps(q + j + 16), b);
    }
    for (; j < dim; j += 16) {
        __mmask16 some = dim - j >= 16 ? 0xffff : (__mmask16)((1u << (dim - j)) - 1);
        a = _mm512_fmadd_ps(_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(some, x + j)),
                            _mm512_maskz_loadu_ps(some, q + j), a);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(a, b));
}

AVX2
static float sum_256(__m256 a)
{
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps(x, x, 1)));
}

AVX2
static float dot_half_256(const void *row, const float *q, int64_t dim)
{
    const uint16_t *x = row;
    __m256 a = _mm256_setzero_ps(), b = a;
    int64_t j = 0;
    for (; j + 16 <= dim; j += 16) {
        a = _mm256_fmadd_ps(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(x + j))), _mm256_loadu_ps(q + j), a);
        b = _mm256_fmadd_ps(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(x + j + 8))),
                            _mm256_loadu_ps(q + j + 8), b);
    }
    float sum = sum_256(_mm256_add_ps(a, b));
    for (; j < dim; j++)
        sum += _cvtsh_ss(x[j]) * q[j];
    return sum;
}

AVX512
static float dot_bytes_512(const void *bytes, const float *q, int64_t dim)
{
    const uint8_t *row = bytes;
    __m512 a = _mm512_setzero_ps(), b = a;
    int64_t j = 0;
    for (; j + 32 <= dim; j += 32) {
        a = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(row + j)))),
                            _mm512_loadu_ps(q + j), a);
        b = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(row + j + 16)))),
                            _mm512_loadu_ps(q + j + 16), b);
    }
    for (; j < dim; j += 16) {
        __mmask16 some = dim - j >= 16 ? 0xffff : (__mmask16)((1u << (dim - j)) - 1);
        a = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(some, row + j))),
                            _mm512_maskz_loadu_ps(some, q + j), a);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(a, b));
}

AVX2
static float dot_bytes_256(const void *bytes, const float *q, int64_t dim)
{
    const uint8_t *row = bytes;
    __m256 a = _mm256_setzero_ps(), b = a;
    int64_t j = 0;
    for (; j + 16 <= dim; j += 16) {
        __m128i some = _mm_loadu_si128((const __m128i *)(row + j));
        a = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(some)), _mm256_loadu_ps(q + j), a);
        b = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(some, 8))),
                            _mm256_loadu_ps(q + j + 8), b);
    }
    float sum = sum_256(_mm256_add_ps(a, b));
    for (; j < dim; j++)
        sum += (float)row[j] * q[j];
    return sum;
}

FOR_EACH_PROCESSOR
static float dot_single(const void *row, const float *q, int64_t dim)
{
    const float *x = row;
    Wide sums = {0};
    int64_t j = 0;
    for (; j + 16 <= dim; j += 16)
        sums += *(const Wide *)(x + j) * *(const Wide *)(q + j);
    float sum = 0;
    for (int l = 0; l < 16; l++)
        sum += sums[l];
    for (; j < dim; j++)
        sum += x[j] * q[j];
    return sum;
}

/* -- one query -------------------------------------------------------------------------------- */

/* Whether a comes before b among candidates: the better score, then the lower row. */
static int before(Candidate a, Candidate b) { return a.score > b.score || (a.score == b.score && a.row < b.row); }

/* Define a function that brings the `wanted` first of `count` values, as BEFORE orders them, to the front, in no order. */
#define DEFINE_SELECT(NAME, TYPE, BEFORE)                                                                              \
    static void NAME(TYPE *values, int64_t count, int64_t wanted)                                                      \
    {                                                                                                                  \
        int64_t low = 0, high = count - 1;                                                                             \
        while (low < high) {                                                                                           \
            TYPE a = values[low], b = values[low + (high - low) / 2], c = values[high];                                \
            TYPE pivot = BEFORE(a, b) ? (BEFORE(b, c) ? b : BEFORE(a, c) ? c : a)                                      \
                                      : (BEFORE(a, c) ? a : BEFORE(b, c) ? c : b);                                     \
            int64_t i = low, j = high;                                                                                 \
            while (i <= j) {                                                                                           \
                while (BEFORE(values[i], pivot))                                                                       \
                    i++;                                                                                               \
                while (BEFORE(pivot, values[j]))                                                                       \
                    j--;                                                                                               \
                if (i <= j) {                                                                                          \
                    TYPE value = values[i];                                                                            \
                    values[i++] = values[j];                                                                           \
                    values[j--] = value;                                                                               \
                }                                                                                                      \
            }                                                                                                          \
            if (wanted - 1 <= j)                                                                                       \
                high = j;                                                                                              \
            else if (wanted - 1 >= i)                                                                                  \
                low = i;                                                                                               \
            else                                                                                                       \
                return;                                                                                                \
        }                                                                                                              \
    }

static int larger(uint64_t a, uint64_t b) { return a > b; }

DEFINE_SELECT(select_best, Candidate, before)
DEFINE_SELECT(select_keys, uint64_t, larger)

static int by_rank(const void *a, const void *b)
{
    const Candidate *x = a, *y = b;
    return before(*x, *y) ? -1 : before(*y, *x);
}

/* Which bin a score falls into. */
static int64_t bin_of(float score)
{
    float at = (score + 2.0f) * (BINS / 4);
    return at > 0 ? at < BINS - 1 ? (int64_t)at : BINS - 1 : 0;
}

/* Count a candidate in, and raise the threshold to the lowest bin that is still needed for the `wanted` best. `above` is
   how many there are in bins from `floor` on: one that lies between the threshold and its edge is in a bin below. */
static void count_in(Scratch *s, Query *one, int64_t bin)
{
    if (s->above < s->wanted)
        s->floor = bin < s->floor ? bin : s->floor;
    else if (bin < s->floor)
        return;
    s->bins[bin]++;
    s->above++;
    if (s->above < s->wanted)
        return;
    while (s->above - s->bins[s->floor] >= s->wanted)
        s->above -= s->bins[s->floor++];
    /* A score just below the edge of a bin may have been rounded into it. */
    float edge = s->floor ? (float)s->floor / (BINS / 4) - 2.0f - 0x1p-22f : -INFINITY;
    one->threshold = edge > one->threshold ? edge : one->threshold;
}

/* Forget candidates below the threshold; where that leaves many, all but the best, and raise it to the last of them. */
static void compact(const Scratch *s, Query *one)
{
    int64_t count = 0;
    for (int64_t i = 0; i < one->count; i++)
        if (one->found[i].score >= one->threshold)
            one->found[count++] = one->found[i];
    one->count = count;
    if (count <= s->room / 2)
        return;
    select_best(one->found, count, s->wanted);
    one->count = s->wanted;
    float least = one->found[0].score;
    for (int64_t i = 1; i < s->wanted; i++)
        least = one->found[i].score < least ? one->found[i].score : least;
    one->threshold = least > one->threshold ? least : one->threshold;
}

/* Numbers that order as scores do. */
FOR_EACH_PROCESSOR
static void rank(const float *restrict scores, int64_t count, uint32_t *restrict ranks)
{
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, scores + i, sizeof bits);
        ranks[i] = bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
    }
}

/* The highest number that `wanted` ranks reach, at least one and at most all of them: some thirty passes over them,
   sixteen at a time, are a tenth of what it takes to sort. */
FOR_EACH_PROCESSOR
static uint32_t rank_of(const uint32_t *ranks, int64_t count, int64_t wanted)
{
    uint32_t low = 0, high = 0;
    for (int64_t i = 0; i < count; i++)
        high = ranks[i] > high ? ranks[i] : high;
    while (low < high) {
        uint32_t middle = high - (high - low) / 2, reaching = 0;
        for (int64_t i = 0; i < count; i++)
            reaching += ranks[i] >= middle;
        if (reaching == wanted)
            return middle;
        if (reaching > wanted)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static void sift(uint64_t *heap, int64_t count, int64_t at)
{
    uint64_t key = heap[at];
    for (int64_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && heap[child + 1] > heap[child])
            child++;
        if (heap[child] <= key)
            break;
        heap[at] = heap[child];
    }
    heap[at] = key;
}

/* The largest whole-number scale for tables of these ranges, whatever codes are added up. */
static float scale_of(const float *ranges, int64_t m)
{
    float most = 0, total = 0;
    for (int64_t i = 0; i < m; i++) {
        int64_t group = i / GROUPED * GROUPED;
        float sum = ranges[i];
        if (group + GROUPED <= up(m, 2))
            for (int64_t j = group + i % 4; j < group + GROUPED && j < m; j += 4)
                sum += j == i ? 0 : ranges[j];
        most = sum > most ? sum : most;
        total += ranges[i];
    }
    if (!(most > 1e-30f) || !isfinite(total))
        return 0;
    float scale = TOP / most, wide = WIDE / total;
    return scale < wide ? scale : wide;
}

/* Make the table of a query: what each code of each subspace adds to a score, in whole steps. */
FOR_EACH_PROCESSOR
static void make_table(const Cells *cells, const float *restrict y, Scratch *s, Query *one, uint8_t *table)
{
    int64_t m = cells->m, width = cells->dim / m;
    float base = 0;
    for (int64_t i = 0; i < m; i++) {
        const float *book = cells->books + i * width * 16;
        Wide sum = {0};
        for (int64_t j = 0; j < width; j++)
            sum += *(const Wide *)(book + j * 16) * y[i * width + j];
        float least = sum[0], largest = sum[0];
        for (int l = 1; l < 16; l++) {
            least = sum[l] < least ? sum[l] : least;
            largest = sum[l] > largest ? sum[l] : largest;
        }
        sum -= least;
        memcpy(s->exact + i * 16, &sum, sizeof sum);
        s->ranges[i] = largest - least;
        base += least;
    }
    float scale = scale_of(s->ranges, m);
    int64_t most = 0;
    if (!(scale > 0))
        memset(table, 0, (size_t)m * 16);
    for (int64_t i = 0; i < m && scale > 0; i++) {
        for (int l = 0; l < 16; l++)
            table[i * 16 + l] = (uint8_t)(int)(s->exact[i * 16 + l] * scale + 0.5f);
        most += (int64_t)(s->ranges[i] * scale + 0.5f);
    }
    one->table = table;
    one->base = base;
    one->step = scale > 0 ? 1 / scale : 0;
    one->most = most;
}

/* Take up the rows of some blocks that reached the threshold. Returns 0 at a row number that cannot be. */
static int take(const Cells *cells, const Order *order, Scratch *s, Query *one, int counted, const int64_t *ids,
                int64_t left, float offset, int64_t blocks, uint16_t (*sums)[BLOCK], const uint32_t *reached)
{
    for (int64_t b = 0; b < blocks; b++) {
        uint32_t bits = reached[b];
        if (left - b * BLOCK < BLOCK)
            bits &= (1u << (left - b * BLOCK)) - 1;
        for (; bits; bits &= bits - 1) {
            int j = __builtin_ctz(bits);
            float score = offset + one->step * (float)sums[b][j];
            if (!(score >= one->threshold)) /* nor is NaN a score */
                continue;
            int64_t row = ids[b * BLOCK + j];
            if (row < 0 || row >= cells->n)
                return 0;
            if (order->allowed != NULL && !((order->allowed[row >> 3] >> (row & 7)) & 1))
                continue;
            one->found[one->count++] = (Candidate){score, (uint32_t)(one - s->asked), row};
            if (counted)
                count_in(s, one, bin_of(score));
            if (one->count == s->room)
                compact(s, one);
        }
    }
    return 1;
}

/* Scan one cell for a query, and fetch the codes of the next meanwhile, -1 for none. Candidates are counted in bins for
   the query that begins. Returns 0 at a row number that cannot be. */
static int scan_cell(const Cells *cells, const Order *order, Scratch *s, Query *one, int counted, int64_t cell,
                     float centroid_score, int64_t next)
{
    uint16_t sums[CHUNK][BLOCK];
    uint32_t reached[CHUNK];
    int64_t pairs = (cells->m + 1) / 2, rows = cells->ids[cell].len / (int64_t)sizeof(int64_t);
    const uint8_t *codes = cells->codes[cell].buf;
    const int64_t *ids = cells->ids[cell].buf;
    float offset = one->base + (cells->residual ? centroid_score : 0);
    const char *ahead = next < 0 ? NULL : cells->codes[next].buf;
    int64_t more = next < 0 ? 0 : cells->codes[next].len;
    for (int64_t start = 0; start < rows; start += CHUNK * BLOCK) {
        int64_t from = start / BLOCK * pairs * BLOCK, to = from + CHUNK * pairs * BLOCK;
        if (start + CHUNK * BLOCK >= rows)
            to = more;
        for (int64_t line = from; line < to && line < more; line += LINE)
            __builtin_prefetch(ahead + line, 0, 2);
        int64_t left = rows - start;
        int64_t blocks = left < CHUNK * BLOCK ? (left + BLOCK - 1) / BLOCK : CHUNK;
        /* What rounding a score, and what is needed for it, can take away: many steps where codes are nearly alike. */
        float unsure = one->threshold > -INFINITY ? 0x1p-22f * (fabsf(one->threshold) + fabsf(offset)) : 0;
        float needed = one->step > 0 ? (one->threshold - offset - unsure) / one->step - ROUNDING : 0;
        if (needed > (float)one->most)
            return 1;
        uint16_t least = needed > 0 ? (uint16_t)ceilf(needed) : 0;
        cells->scan(codes + start / BLOCK * pairs * BLOCK, blocks, pairs, one->table, least, sums, reached);
        one->visited += left < CHUNK * BLOCK ? left : CHUNK * BLOCK;
        if (!take(cells, order, s, one, counted, ids + start, left, offset, blocks, sums, reached))
            return 0;
    }
    return 1;
}

static uint64_t key_of(uint32_t rank, uint32_t cell) { return (uint64_t)rank << 32 | (0xffffffffu - cell); }

static int64_t cell_of(uint64_t key) { return (int64_t)(0xffffffffu - (uint32_t)key); }

/* Find the cells among the `count` best whose key is at most `bound`, and that can reach `needed`, in no order. `done` of
   the best have been visited. Returns how many there are. */
static int64_t choose(const Cells *cells, const Order *order, Scratch *s, const float *centroid_scores, int64_t count,
                      uint64_t bound, int64_t done, float needed)
{
    uint32_t least = count < cells->nlist ? rank_of(s->ranks, cells->nlist, count) : 0;
    int64_t left = 0;
    for (int64_t c = 0; c < cells->nlist; c++) {
        uint64_t key = key_of(s->ranks[c], (uint32_t)c);
        s->heap[left] = key;
        left += (s->ranks[c] >= least) & (key <= bound) & !(centroid_scores[c] + order->margin < needed);
    }
    if (left > count - done) { /* several are like the last */
        select_keys(s->heap, left, count - done);
        left = count - done;
    }
    return left;
}

/* The same, as a heap. */
static int64_t choose_heap(const Cells *cells, const Order *order, Scratch *s, const float *centroid_scores,
                           int64_t count, uint64_t bound, int64_t done, float needed)
{
    int64_t left = choose(cells, order, s, centroid_scores, count, bound, done, needed);
    for (int64_t i = left / 2; i-- > 0;)
        sift(s->heap, left, i);
    return left;
}

/* Take the best cell from the heap and scan it. Returns 0 at a row number that cannot be. */
static int visit_best(const Cells *cells, const Order *order, Scratch *s, Query *one, const float *centroid_scores,
                      int64_t *left)
{
    int64_t cell = cell_of(s->heap[0]);
    s->heap[0] = s->heap[--*left];
    sift(s->heap, *left, 0);
    return scan_cell(cells, order, s, one, 1, cell, centroid_scores[cell], *left ? cell_of(s->heap[0]) : -1);
}

/* Begin with a query: visit its best cells. What they hold decides which of the others can matter: where a query is
   alone they are visited too, the best first, else they are put down as turns. Returns 0 at a row number that cannot
   be. */
static int begin(const Cells *cells, const Order *order, Scratch *s, Query *one, int alone,
                 const float *centroid_scores)
{
    int64_t visits = order->nprobe, first = visits < HEAD ? visits : HEAD, done = 0;
    uint64_t bound = UINT64_MAX;
    rank(centroid_scores, cells->nlist, s->ranks);
    s->above = 0;
    s->floor = BINS;
    memset(s->bins, 0, sizeof s->bins);
    int64_t left = choose_heap(cells, order, s, centroid_scores, first, bound, done, -INFINITY);
    for (; done < visits && (done < HEAD || one->threshold == -INFINITY); done++) {
        if (!left)
            left = choose_heap(cells, order, s, centroid_scores, visits, bound, done, -INFINITY);
        if (centroid_scores[cell_of(s->heap[0])] + order->margin < one->threshold)
            return 1;
        bound = s->heap[0] - 1;
        if (!visit_best(cells, order, s, one, centroid_scores, &left))
            return 0;
    }
    if (done == visits)
        return 1;
    if (!alone) {
        left = choose(cells, order, s, centroid_scores, visits, bound, done, one->threshold);
        for (int64_t i = 0; i < left; i++) {
            int64_t cell = cell_of(s->heap[i]);
            s->turns[s->turn_count++] = (Turn){(uint32_t)cell, (uint32_t)(one - s->asked), centroid_scores[cell]};
        }
        return 1;
    }
    left = choose_heap(cells, order, s, centroid_scores, visits, bound, done, one->threshold);
    while (left)
        if (!visit_best(cells, order, s, one, centroid_scores, &left))
            return 0;
    return 1;
}

/* Put turns in the order of cells: the codes of a cell stay in the nearest cache for all queries that visit it. */
static void sort_turns(Scratch *s, int64_t nlist)
{
    memset(s->places, 0, (size_t)(nlist + 1) * sizeof *s->places);
    for (int64_t i = 0; i < s->turn_count; i++)
        s->places[s->turns[i].cell + 1]++;
    for (int64_t c = 0; c < nlist; c++)
        s->places[c + 1] += s->places[c];
    for (int64_t i = 0; i < s->turn_count; i++)
        s->sorted[s->places[s->turns[i].cell]++] = s->turns[i];
}

/* Visit what was put down. Returns 0 at a row number that cannot be. */
static int take_turns(const Cells *cells, const Order *order, Scratch *s)
{
    sort_turns(s, cells->nlist);
    for (int64_t i = 0; i < s->turn_count; i++) {
        Turn turn = s->sorted[i];
        Query *one = s->asked + turn.query;
        int64_t next = -1;
        if (i + 1 < s->turn_count) {
            const char *table = (const char *)s->asked[s->sorted[i + 1].query].table;
            for (int64_t at = 0; at < cells->m * 16; at += LINE)
                __builtin_prefetch(table + at);
            next = s->sorted[i + 1].cell == turn.cell ? -1 : (int64_t)s->sorted[i + 1].cell;
        }
        if (!scan_cell(cells, order, s, one, 0, turn.cell, turn.score, next))
            return 0;
    }
    return 1;
}

/* -- candidates of some queries --------------------------------------------------------------- */

/* Keep the best of each query, among those that have a score: NaN has no place in any order. */
static void keep(Scratch *s, int64_t wanted)
{
    int64_t to = 0;
    for (int64_t i = 0; i < s->queries; i++) {
        Candidate *some = s->pool + s->starts[i];
        int64_t count = 0;
        for (int64_t j = 0; j < s->starts[i + 1] - s->starts[i]; j++)
            if (some[j].score >= -FLT_MAX)
                some[count++] = some[j];
        if (count > wanted) {
            select_best(some, count, wanted);
            count = wanted;
        }
        memmove(s->pool + to, some, (size_t)count * sizeof *some);
        s->starts[i] = to;
        to += count;
    }
    s->starts[s->queries] = to;
}

/* Sort keys by the row numbers in their upper half, all below n. */
static void sort_keys(Scratch *s, int64_t count, int64_t n)
{
    for (int shift = 32; (n - 1) >> (shift - 32) > 0; shift += DIGIT) {
        uint32_t places[1 << DIGIT] = {0}, place = 0;
        const uint64_t mask = (1 << DIGIT) - 1;
        for (int64_t i = 0; i < count; i++)
            places[s->keys[i] >> shift & mask]++;
        for (int64_t i = 0; i < 1 << DIGIT; i++) {
            uint32_t some = places[i];
            places[i] = place;
            place += some;
        }
        for (int64_t i = 0; i < count; i++)
            s->spare[places[s->keys[i] >> shift & mask]++] = s->keys[i];
        uint64_t *sorted = s->spare;
        s->spare = s->keys;
        s->keys = sorted;
    }
}

/* Fetch the lines of a row, and of the candidate that it scores. */
static inline void fetch(const Rows *rows, const Candidate *pool, uint64_t key)
{
    const char *at = rows->at + (int64_t)(key >> 32) * rows->bytes;
    __builtin_prefetch(pool + (uint32_t)key, 1);
    for (int64_t line = 0; line < rows->bytes; line += LINE)
        __builtin_prefetch(at + line);
    __builtin_prefetch(at + rows->bytes - 1); /* rows begin anywhere in a line */
}

/* Score all candidates of a part by rows, in the order in which rows lie in memory: many queries have the same, and
   those between are few. `bases` are added where there are any. */
static void score(const Cells *cells, Scratch *s, const Rows *rows, const float *queries, const float *bases)
{
    int64_t count = s->starts[s->queries];
    for (int64_t i = 0; i < count; i++)
        s->keys[i] = (uint64_t)s->pool[i].row << 32 | (uint64_t)i;
    if (s->queries > GROUP)
        sort_keys(s, count, cells->n);
    for (int64_t i = 0; i < count && i < rows->ahead; i++)
        fetch(rows, s->pool, s->keys[i]);
    for (int64_t i = 0; i < count; i++) {
        if (i + rows->ahead < count)
            fetch(rows, s->pool, s->keys[i + rows->ahead]);
        Candidate *one = s->pool + (uint32_t)s->keys[i];
        const char *row = rows->at + (int64_t)(s->keys[i] >> 32) * rows->bytes;
        float sum = rows->dot(row, queries + one->query * rows->dim, rows->dim);
        one->score = bases == NULL ? sum : bases[one->query] + sum;
    }
}

/* What a query has to be multiplied with bytes for. */
static void weigh(const Cells *cells, const float *y, Scratch *s)
{
    const float *least = cells->ranges, *range = cells->ranges + cells->dim;
    float *weights = s->weights + s->queries * cells->dim, base = 0;
    for (int64_t j = 0; j < cells->dim; j++) {
        weights[j] = y[j] * range[j] / STEPS;
        base += y[j] * least[j] + 0.5f * weights[j];
    }
    s->bases[s->queries] = base;
}

static void write_answers(const Order *order, Scratch *s, int64_t first)
{
    int64_t k = order->k;
    for (int64_t i = 0; i < s->queries; i++) {
        Candidate *some = s->pool + s->starts[i];
        int64_t found = s->starts[i + 1] - s->starts[i], at = (first + i) * k;
        qsort(some, (size_t)found, sizeof *some, by_rank);
        for (int64_t j = 0; j < k; j++) {
            float score = j < found ? some[j].score : -INFINITY;
            /* Stored vectors were rounded: what they say is a cosine, and not more. */
            if (order->shortlist && j < found)
                score = score > 1 ? 1 : score < -1 ? -1 : score;
            order->scores[at + j] = score;
            order->ids[at + j] = j < found ? some[j].row : -1;
        }
    }
}

/* -- a batch ---------------------------------------------------------------------------------- */

/* Write what cells hold of queries, [count, padded d], of unit length. */
static void project(const Cells *cells, const float *xq, int64_t count, float *y)
{
    int64_t stride = up(cells->dim, LANES);
    if (cells->matrix != NULL)
        cells->multiply(cells->matrix, stride, cells->width, xq, cells->full_dim, count, y);
    else
        for (int64_t i = 0; i < count; i++)
            memcpy(y + i * stride, xq + i * cells->full_dim, (size_t)cells->dim * sizeof(float));
    for (int64_t i = 0; i < count; i++) {
        float square = dot_single(y + i * stride, y + i * stride, cells->dim);
        float scale = square > 0 ? 1 / sqrtf(square) : 1;
        for (int64_t j = 0; j < cells->dim; j++)
            y[i * stride + j] = isfinite(square) ? y[i * stride + j] * scale : 0; /* a table is made of it */
    }
}

/* Find the candidates of queries from `first` on, `wanted` each. Returns how many queries that are, as many as there is
   room for, or 0 at a row number that cannot be. */
static int64_t find(const Cells *cells, const Order *order, Scratch *s, int64_t first)
{
    int64_t stride = up(cells->dim, LANES), lists = up(cells->nlist, LANES), table = table_bytes(cells);
    int64_t end = order->nq - first < s->part ? order->nq : first + s->part;
    int alone = end - first <= GROUP;
    s->queries = s->turn_count = 0;
    for (int64_t start = first; start < end; start += GROUP) {
        if (!alone && s->turn_room - s->turn_count < GROUP * order->nprobe)
            break;
        int64_t count = end - start < GROUP ? end - start : GROUP;
        project(cells, order->xq + start * cells->full_dim, count, s->y);
        cells->multiply(cells->centroids, lists, cells->dim, s->y, stride, count, s->centroid_scores);
        for (int64_t i = 0; i < count; i++, s->queries++) {
            Query *one = s->asked + s->queries;
            *one = (Query){.threshold = -INFINITY, .found = s->pool + s->queries * s->room};
            make_table(cells, s->y + i * stride, s, one, s->tables + s->queries * table);
            if (order->middle)
                weigh(cells, s->y + i * stride, s);
            if (!begin(cells, order, s, one, alone, s->centroid_scores + i * lists))
                return 0;
        }
    }
    if (!take_turns(cells, order, s))
        return 0;
    for (int64_t i = 0; i < s->queries; i++)
        order->visited[first + i] = s->asked[i].visited;
    return s->queries;
}

/* Keep the candidates that reach the threshold of their query, and let them lie one after the other. */
static void gather(Scratch *s)
{
    s->starts[0] = 0;
    for (int64_t i = 0; i < s->queries; i++) {
        const Query *one = s->asked + i;
        int64_t to = s->starts[i];
        for (int64_t j = 0; j < one->count; j++)
            if (one->found[j].score >= one->threshold)
                s->pool[to++] = one->found[j];
        s->starts[i + 1] = to;
    }
    keep(s, s->wanted);
}

/* Returns 0 at a row number that cannot be. */
static int search_all(const Cells *cells, const Order *order, Scratch *s)
{
    Rows middle = {cells->middle.buf, cells->dim, cells->dim, MIDDLE_AHEAD, cells->dot_bytes};
    Rows stored = {cells->stored.buf, cells->full_dim * cells->number, cells->full_dim, AHEAD, cells->dot};
    int64_t found;
    for (int64_t first = 0; first < order->nq; first += found) {
        found = find(cells, order, s, first);
        if (!found)
            return 0;
        gather(s);
        if (order->middle) {
            score(cells, s, &middle, s->weights, s->bases);
            keep(s, order->shortlist ? order->shortlist : order->k);
        }
        if (order->shortlist)
            score(cells, s, &stored, order->xq + first * cells->full_dim, NULL);
        keep(s, order->k);
        write_answers(order, s, first);
    }
    return 1;
}

static void *aligned(int64_t bytes) { return aligned_alloc(ALIGNED, (size_t)up(bytes > 0 ? bytes : 1, ALIGNED)); }

/* The next part of a block, or nowhere while it is only measured. */
static void *piece(char *block, int64_t *at, int64_t count, size_t size)
{
    void *found = block == NULL ? NULL : block + *at;
    *at += up(count * (int64_t)size, ALIGNED);
    return found;
}

/* Give everything its place in a block; returns how long it is. */
static int64_t lay_out(const Cells *cells, const Order *order, Scratch *s, char *block)
{
    int64_t at = 0, nlist = cells->nlist, m = cells->m, part = s->part, pooled = part * s->wanted;
    s->y = piece(block, &at, GROUP * up(cells->dim, LANES), sizeof *s->y);
    s->centroid_scores = piece(block, &at, GROUP * up(nlist, LANES), sizeof *s->centroid_scores);
    s->ranks = piece(block, &at, nlist, sizeof *s->ranks);
    s->heap = piece(block, &at, nlist, sizeof *s->heap);
    s->tables = piece(block, &at, part * table_bytes(cells), 1);
    s->exact = piece(block, &at, m * 16, sizeof *s->exact);
    s->ranges = piece(block, &at, m, sizeof *s->ranges);
    s->asked = piece(block, &at, part, sizeof *s->asked);
    s->turns = piece(block, &at, s->turn_room, sizeof *s->turns);
    s->sorted = piece(block, &at, s->turn_room, sizeof *s->sorted);
    s->places = piece(block, &at, nlist + 1, sizeof *s->places);
    s->weights = piece(block, &at, order->middle ? part * cells->dim : 0, sizeof *s->weights);
    s->bases = piece(block, &at, part, sizeof *s->bases);
    s->pool = piece(block, &at, part * s->room, sizeof *s->pool);
    s->starts = piece(block, &at, part + 1, sizeof *s->starts);
    s->keys = piece(block, &at, pooled, sizeof *s->keys);
    s->spare = piece(block, &at, pooled, sizeof *s->spare);
    return at;
}

static int make_scratch(const Cells *cells, const Order *order, Scratch *s)
{
    s->wanted = order->middle ? order->middle : order->shortlist ? order->shortlist : order->k;
    s->room = 2 * s->wanted + 256;
    s->part = order->nq < PART ? order->nq : PART;
    if (s->part * s->wanted > POOLED)
        s->part = s->wanted < POOLED ? POOLED / s->wanted : 1;
    if (s->part > GROUP) {
        int64_t least = GROUP * order->nprobe, all = up(s->part, GROUP) * order->nprobe;
        s->turn_room = all < TURNS ? all : least > TURNS ? least : TURNS;
    }
    /* One block: of many, and small answers that are kept between them, the heap grew by kilobytes a query. */
    s->block = aligned(lay_out(cells, order, s, NULL));
    if (s->block == NULL)
        return 0;
    lay_out(cells, order, s, s->block);
    memset(s->tables, 0, (size_t)(s->part * table_bytes(cells))); /* where m is odd, half a pair is empty */
    return 1;
}

/* Whether a buffer is a matrix of numbers of some size, in its place. */
static int has_shape(const Py_buffer *one, int64_t rows, int64_t columns, int64_t size)
{
    return (uintptr_t)one->buf % (uintptr_t)size == 0 && one->len % size == 0 &&
           (columns == 0 ? one->len == 0 : one->len / size % columns == 0 && one->len / size / columns == rows);
}

static PyObject *Cells_search(PyObject *self, PyObject *args)
{
    const Cells *cells = (const Cells *)self;
    Py_buffer in[2], out[3];
    long long k, nprobe, middle, shortlist;
    double margin;
    if (!PyArg_ParseTuple(args, "y*LLdLLy*w*w*w*", &in[0], &k, &nprobe, &margin, &middle, &shortlist, &in[1], &out[0],
                          &out[1], &out[2]))
        return NULL;
    int64_t nq = in[0].len / (Py_ssize_t)sizeof(float) / cells->full_dim, n = cells->n;
    int sound = k >= 1 && k <= n && nprobe >= 1 && shortlist >= 0 && shortlist <= n && margin >= 0 &&
                nq <= INT32_MAX && (shortlist == 0 || shortlist >= k) &&
                (middle == 0 || (cells->ranges != NULL && middle >= k && middle >= shortlist && middle <= n)) &&
                has_shape(&in[0], nq, cells->full_dim, sizeof(float)) &&
                has_shape(&out[0], nq, k, sizeof(float)) && has_shape(&out[1], nq, k, sizeof(int64_t)) &&
                has_shape(&out[2], nq, 1, sizeof(int64_t)) && (in[1].len == 0 || in[1].len == (n + 7) / 8);
    int whole = 1, ready = 1;
    if (sound) {
        int64_t visits = nprobe < cells->nlist ? nprobe : cells->nlist;
        Order order = {in[0].buf, nq, k, visits, middle, shortlist, (float)margin, in[1].len ? in[1].buf : NULL,
                       out[0].buf, out[1].buf, out[2].buf};
        Scratch scratch = {0};
        Py_BEGIN_ALLOW_THREADS
        ready = make_scratch(cells, &order, &scratch);
        whole = ready && search_all(cells, &order, &scratch);
        free(scratch.block);
        Py_END_ALLOW_THREADS
    }
    for (int i = 0; i < 2; i++)
        PyBuffer_Release(&in[i]);
    for (int i = 0; i < 3; i++)
        PyBuffer_Release(&out[i]);
    if (!sound)
        PyErr_SetString(PyExc_ValueError, "search: the sizes of queries, answers and bitmap do not fit together");
    else if (!ready)
        PyErr_NoMemory();
    else if (!whole)
        PyErr_SetString(PyExc_IndexError, "search: a cell holds a row that does not exist");
    if (!sound || !whole)
        return NULL;
    Py_RETURN_NONE;
}

/* -- opening ---------------------------------------------------------------------------------- */

/* Whether there is neither NaN nor infinity among numbers of float16, or none larger than MOST_NUMBER among others. */
static int are_halves(const Py_buffer *one)
{
    const uint16_t *numbers = one->buf;
    int sound = 1;
    for (int64_t i = 0; i < one->len / (int64_t)sizeof *numbers; i++)
        sound &= (numbers[i] & 0x7c00) != 0x7c00;
    return sound;
}

static int are_numbers(const Py_buffer *one)
{
    const float *numbers = one->buf;
    int sound = 1;
    for (int64_t i = 0; i < one->len / (int64_t)sizeof *numbers; i++)
        sound &= fabsf(numbers[i]) <= MOST_NUMBER;
    return sound;
}

/* Copy rows [rows, dim] so that 64 of them lie side by side. */
static uint16_t *side_by_side(const uint16_t *from, int64_t rows, int64_t dim)
{
    uint16_t *out = aligned(up(rows, LANES) * dim * (int64_t)sizeof *out);
    if (out == NULL)
        return NULL;
    memset(out, 0, (size_t)(up(rows, LANES) * dim) * sizeof *out);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < dim; j++)
            out[(i / LANES * dim + j) * LANES + i % LANES] = from[i * dim + j];
    return out;
}

/* Copy code books [m, 16, width] as [m, width, 16]. */
static float *by_number(const float *books, int64_t m, int64_t width)
{
    float *out = aligned(m * width * 16 * (int64_t)sizeof(float));
    for (int64_t i = 0; out != NULL && i < m; i++)
        for (int64_t l = 0; l < 16; l++)
            for (int64_t j = 0; j < width; j++)
                out[(i * width + j) * 16 + l] = books[(i * 16 + l) * width + j];
    return out;
}

static int choose_level(Cells *self, int level)
{
    int has_512 = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512dq");
    int has_256 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    int has_gfni = __builtin_cpu_supports("gfni");
    if ((level == 0 || level == 4 || (level == 5 && has_gfni)) && has_512 && has_256) {
        self->scan = level != 4 && has_gfni ? scan_gfni : scan_512;
        self->multiply = multiply_512;
        self->dot = self->number == 4 ? dot_single : dot_half_512;
        self->dot_bytes = dot_bytes_512;
    } else if ((level == 0 || level == 2) && has_256) {
        self->scan = scan_256;
        self->multiply = multiply_256;
        self->dot = self->number == 4 ? dot_single : dot_half_256;
        self->dot_bytes = dot_bytes_256;
    } else {
        PyErr_Format(PyExc_NotImplementedError, "Cells: this processor has not what level %d needs", level);
        return 0;
    }
    return 1;
}

/* Hold on to the buffers of a sequence; returns 0, with an exception, where they are not what they should be. */
static int hold(Cells *self, PyObject *codes, PyObject *ids)
{
    int64_t pairs = (self->m + 1) / 2;
    for (int64_t c = 0; c < self->nlist; c++) {
        PyObject *one = PySequence_GetItem(codes, (Py_ssize_t)c);
        int got = one != NULL && PyObject_GetBuffer(one, &self->codes[c], PyBUF_SIMPLE) == 0;
        Py_XDECREF(one);
        if (!got)
            return 0;
        one = PySequence_GetItem(ids, (Py_ssize_t)c);
        got = one != NULL && PyObject_GetBuffer(one, &self->ids[c], PyBUF_SIMPLE) == 0;
        Py_XDECREF(one);
        if (!got) {
            PyBuffer_Release(&self->codes[c]);
            return 0;
        }
        self->held = c + 1;
        int64_t rows = self->ids[c].len / (int64_t)sizeof(int64_t), blocks = (rows + BLOCK - 1) / BLOCK;
        if (self->ids[c].len % (int64_t)sizeof(int64_t) || (uintptr_t)self->ids[c].buf % sizeof(int64_t) ||
            rows > self->n || self->codes[c].len / (pairs * BLOCK) < blocks) {
            PyErr_SetString(PyExc_ValueError, "Cells: the codes of a cell are not those of its rows");
            return 0;
        }
    }
    return 1;
}

static int open_cells(Cells *self, const Py_buffer *parts, PyObject *codes, PyObject *ids, int level)
{
    int64_t d = self->dim, big = 1 << 20;
    int sound = self->full_dim >= 1 && self->full_dim <= big && d >= 1 && d <= self->full_dim && self->width >= 1 &&
                self->width <= self->full_dim && self->nlist >= 1 && self->nlist <= INT32_MAX / LANES &&
                self->m >= 1 && self->m <= 4096 && d % self->m == 0 && self->n >= 1 &&
                self->n <= UINT32_MAX &&
                (self->number == 2 || self->number == 4) &&
                (parts[0].len == 0 || has_shape(&parts[0], d, self->width, sizeof(uint16_t))) &&
                has_shape(&parts[1], self->nlist, d, sizeof(uint16_t)) &&
                has_shape(&parts[2], 16, d, sizeof(float)) &&
                (parts[3].len == 0 ? self->middle.len == 0
                                   : has_shape(&parts[3], 2, d, sizeof(float)) &&
                                         has_shape(&self->middle, self->n, d, sizeof(uint8_t))) &&
                has_shape(&self->stored, self->n, self->full_dim, self->number) &&
                PySequence_Size(codes) == self->nlist && PySequence_Size(ids) == self->nlist;
    if (!sound) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "Cells: the sizes of its parts do not fit together");
        return 0;
    }
    if (!are_halves(&parts[0]) || !are_halves(&parts[1]) || !are_numbers(&parts[2]) || !are_numbers(&parts[3])) {
        PyErr_SetString(PyExc_ValueError, "Cells: its matrix, centroids, code books or ranges hold what is no number");
        return 0;
    }
    if (!choose_level(self, level))
        return 0;
    self->codes = calloc((size_t)self->nlist, sizeof *self->codes);
    self->ids = calloc((size_t)self->nlist, sizeof *self->ids);
    self->matrix = parts[0].len ? side_by_side(parts[0].buf, d, self->width) : NULL;
    self->centroids = side_by_side(parts[1].buf, self->nlist, d);
    self->books = by_number(parts[2].buf, self->m, d / self->m);
    if (parts[3].len && (self->ranges = aligned(parts[3].len)) != NULL)
        memcpy(self->ranges, parts[3].buf, (size_t)parts[3].len);
    if (self->codes == NULL || self->ids == NULL || (parts[0].len && self->matrix == NULL) ||
        (parts[3].len && self->ranges == NULL) || self->centroids == NULL || self->books == NULL) {
        PyErr_NoMemory();
        return 0;
    }
    return hold(self, codes, ids);
}

static PyObject *Cells_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)kwargs;
    Py_buffer parts[4], middle, stored;
    PyObject *codes, *ids;
    long long shape[8];
    int level;
    if (!PyArg_ParseTuple(args, "y*y*y*OOy*y*y*(LLLLLLLL)i", &parts[0], &parts[1], &parts[2], &codes, &ids, &middle,
                          &parts[3], &stored, &shape[0], &shape[1], &shape[2], &shape[3], &shape[4], &shape[5],
                          &shape[6], &shape[7], &level))
        return NULL;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Cells *self = (Cells *)alloc(type, 0);
    if (self == NULL) {
        PyBuffer_Release(&stored);
        PyBuffer_Release(&middle);
    } else {
        self->stored = stored;
        self->middle = middle;
        self->full_dim = shape[0], self->dim = shape[1], self->width = shape[2], self->nlist = shape[3];
        self->m = shape[4], self->n = shape[5], self->number = shape[6], self->residual = shape[7] != 0;
        if (!open_cells(self, parts, codes, ids, level)) {
            Py_DECREF((PyObject *)self);
            self = NULL;
        }
    }
    for (int i = 0; i < 4; i++)
        PyBuffer_Release(&parts[i]);
    return (PyObject *)self;
}

static void Cells_dealloc(PyObject *self)
{
    Cells *cells = (Cells *)self;
    PyTypeObject *type = Py_TYPE(self);
    for (int64_t c = 0; c < cells->held; c++) {
        PyBuffer_Release(&cells->codes[c]);
        PyBuffer_Release(&cells->ids[c]);
    }
    PyBuffer_Release(&cells->stored);
    PyBuffer_Release(&cells->middle);
    free(cells->codes);
    free(cells->ids);
    free(cells->matrix);
    free(cells->centroids);
    free(cells->books);
    free(cells->ranges);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF((PyObject *)type);
}

static PyMethodDef search_methods[] = {
    {"search", Cells_search, METH_VARARGS, "Search; see the source."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, Cells_new},
    {Py_tp_dealloc, Cells_dealloc},
    {Py_tp_methods, search_methods},
    {0, NULL},
};

static PyType_Spec spec = {"indexers.kernels._probe.Cells", sizeof(Cells), 0, Py_TPFLAGS_DEFAULT, slots};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "indexers.kernels._probe", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__probe(void)
{
    PyObject *made = PyModule_Create(&module);
    PyObject *type = made == NULL ? NULL : PyType_FromSpec(&spec);
    if (type == NULL || PyModule_AddObjectRef(made, "Cells", type) < 0) {
        Py_XDECREF(type);
        Py_XDECREF(made);
        return NULL;
    }
    Py_DECREF(type);
    return made;
}
