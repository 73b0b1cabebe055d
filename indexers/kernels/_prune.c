/* The scan behind indexers/pruned.py, which explains it: one pass over codes that lie line by line.

   prune(codes, norms, n, whole, queries, terms, floors, k, allowed, level) -> [(rows, scanned), ...]

     codes    int8 [S, n, 64]     row i's line s: 64 codes in each of the first `whole` lines; of the others, half are
                                  upper halves of 128 codes (indexers/pruned_file.py says in which order), half lower
     norms    uint8 [S - G, n]    how long the rest of row i is after line s; 255: nobody knows. G = (S - whole) / 2;
                                  lower halves have the norms of the last upper ones
     queries  [nq, S - G, 128] bytes, for lines of halves those of the upper ones serve: int16 [64] for whole codes,
                                  int8 [128] for halves
     terms    float32 [nq, S, 4]  (a, b, c, d): a line says of a score a times its dot product, plus d; and with norm
                                  code u the score is within b·u + c of what the lines so far say
     floors   float32 [nq]        k rows are known to reach this score; -inf if none are
     k        rows wanted, >= 1
     allowed  uint8 [ceil(n / 8)] bitmap of rows that may be answered, least significant bit first; empty for all
     level    0 for the best instructions this processor has, or 1 for plain C, 2 for AVX2, 4 for AVX-512

   rows is int64: every allowed row that can be among the k best, and few others, ascending. scanned counts the
   lines of 64 bytes that were looked at.

   All sizes are checked before a byte is read. The interpreter lock is released while it runs. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 64    /* bytes a line: one of the cache. Codes, where they are whole; else halves of twice as many */
#define BLOCK 4096  /* rows at a time: their first lines stay in the second-level cache for the next query */
#define GROUP 16    /* rows whose fates are bits of one number */
#define DENSE 4     /* from a quarter of a block on */
#define AHEAD 16    /* rows fetched before they are needed, where they do not lie together */
#define UNKNOWN 255 /* a norm code that promises nothing */

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")))
#define HAS_INTRINSICS 1
#else
#define HAS_INTRINSICS 0
#endif
#if defined(__GNUC__)
#define FETCH(address) __builtin_prefetch(address)
#define FIRST_BIT(bits) __builtin_ctz(bits)
#define ALWAYS_INLINE inline __attribute__((always_inline))
#else
#define FETCH(address) (void)(address)
#define FIRST_BIT(bits) first_bit(bits)
#define ALWAYS_INLINE inline
#endif

typedef struct {
    float a, b, c, d;
} Terms;

/* What is known about one query. */
typedef struct {
    const int8_t *q;    /* [S - G, 2 * WIDTH] */
    const Terms *terms; /* [S] */
    float *heap;        /* the k best lower bounds so far, the worst first */
    int64_t filled;
    float threshold;    /* k rows reach it */
    int64_t *rows;
    float *upper;
    int64_t count, room, scanned;
} Search;

/* A line of one block, for one query. */
typedef struct {
    const int8_t *codes;  /* [m, WIDTH] */
    const uint8_t *norms; /* [m] */
    const int8_t *q;      /* int16 [WIDTH], or int8 [2 * WIDTH] for halves */
    Terms terms;
    float needed; /* of what is known by now and what the rest can add */
    int halves;
} Line;

/* Add a line to the scores of groups of 16 rows, and drop those of `alive`, a bit each, that cannot win any more. */
typedef void (*PassAll)(const Line *line, int64_t groups, float *scores, uint16_t *alive);
/* Do so for listed rows alone, and return how many are left. */
typedef int64_t (*PassListed)(const Line *line, int64_t listed_now, float *scores, int32_t *listed);

typedef struct {
    const int8_t *codes;
    const uint8_t *norms;
    const uint8_t *allowed; /* NULL: every row */
    int64_t n, lines, whole, k;
    PassAll pass_all;
    PassListed pass_listed;
} Base;

/* -- kernels ---------------------------------------------------------------------------------- */

static int can_win(const Line *line, float score, uint8_t norm)
{
    /* What is no number drops no row. */
    return !(score + line->terms.b * (float)norm < line->needed) | (norm == UNKNOWN);
}

typedef int32_t (*Dot)(const int8_t *codes, const int8_t *q, int halves);

static ALWAYS_INLINE int64_t pass_listed(Dot dot, const Line *line, int64_t listed_now, float *scores, int32_t *listed,
                                         int halves)
{
    int64_t count = 0;
    for (int64_t i = 0; i < listed_now; i++) {
        int32_t row = listed[i];
        if (i + AHEAD < listed_now)
            FETCH(line->codes + (int64_t)listed[i + AHEAD] * WIDTH);
        scores[row] += line->terms.a * (float)dot(line->codes + (int64_t)row * WIDTH, line->q, halves) + line->terms.d;
        listed[count] = row;
        count += can_win(line, scores[row], line->norms[row]);
    }
    return count;
}

static ALWAYS_INLINE int32_t dot_plain(const int8_t *codes, const int8_t *q, int halves)
{
    int32_t sum = 0;
    for (int j = 0; j < WIDTH; j++) {
        int32_t both = (uint8_t)codes[j];
        sum += halves ? (both & 15) * q[j] + (both >> 4) * q[WIDTH + j] : codes[j] * ((const int16_t *)q)[j];
    }
    return sum;
}

static void pass_all_plain(const Line *line, int64_t groups, float *scores, uint16_t *alive)
{
    for (int64_t i = 0; i < groups * GROUP; i++) {
        scores[i] += line->terms.a * (float)dot_plain(line->codes + i * WIDTH, line->q, line->halves) + line->terms.d;
        if (!can_win(line, scores[i], line->norms[i]))
            alive[i / GROUP] &= (uint16_t)~(1u << i % GROUP);
    }
}

static int64_t pass_listed_plain(const Line *line, int64_t listed_now, float *scores, int32_t *listed)
{
    return line->halves ? pass_listed(dot_plain, line, listed_now, scores, listed, 1)
                        : pass_listed(dot_plain, line, listed_now, scores, listed, 0);
}

#if HAS_INTRINSICS

AVX2
static ALWAYS_INLINE __m256i products_256(const int8_t *codes, const int8_t *q, int halves)
{
    __m256i sum = _mm256_setzero_si256();
    if (halves) {
        /* Eight products of at most 15 * 127 are added in 16 bits. */
        for (int j = 0; j < WIDTH; j += 32) {
            const __m256i four_bits = _mm256_set1_epi8(15);
            __m256i x = _mm256_loadu_si256((const __m256i *)(codes + j));
            __m256i first = _mm256_and_si256(x, four_bits);
            __m256i second = _mm256_and_si256(_mm256_srli_epi16(x, 4), four_bits);
            sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(first, _mm256_loadu_si256((const __m256i *)(q + j))));
            sum = _mm256_add_epi16(
                sum, _mm256_maddubs_epi16(second, _mm256_loadu_si256((const __m256i *)(q + WIDTH + j))));
        }
        return _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
    }
    for (int j = 0; j < WIDTH; j += 16) {
        __m256i x = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(codes + j)));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x, _mm256_loadu_si256((const __m256i *)(q + 2 * j))));
    }
    return sum;
}

AVX2
static ALWAYS_INLINE int32_t dot_256(const int8_t *codes, const int8_t *q, int halves)
{
    __m256i sum = products_256(codes, q, halves);
    __m128i x = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    x = _mm_add_epi32(x, _mm_shuffle_epi32(x, 0x4e));
    x = _mm_add_epi32(x, _mm_shuffle_epi32(x, 0xb1));
    return _mm_cvtsi128_si32(x);
}

/* Each row has 8 sums to add; 8 rows are added up together. */
AVX2
static ALWAYS_INLINE void pass_all_256_of(const Line *line, int64_t groups, float *scores, uint16_t *alive, int halves)
{
    const __m256 a = _mm256_set1_ps(line->terms.a), b = _mm256_set1_ps(line->terms.b);
    const __m256 d = _mm256_set1_ps(line->terms.d);
    const __m256 needed = _mm256_set1_ps(line->needed);
    for (int64_t at = 0; at < groups * GROUP; at += 8) {
        __m256i rows[8];
        for (int i = 0; i < 8; i++)
            rows[i] = products_256(line->codes + (at + i) * WIDTH, line->q, halves);
        for (int i = 0; i < 8; i += 2)
            rows[i] = _mm256_hadd_epi32(rows[i], rows[i + 1]);
        __m256i low = _mm256_hadd_epi32(rows[0], rows[2]), high = _mm256_hadd_epi32(rows[4], rows[6]);
        __m256i sums = _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20),
                                        _mm256_permute2x128_si256(low, high, 0x31));
        __m256 score = _mm256_add_ps(_mm256_loadu_ps(scores + at), _mm256_fmadd_ps(a, _mm256_cvtepi32_ps(sums), d));
        _mm256_storeu_ps(scores + at, score);
        __m256i norm = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(line->norms + at)));
        __m256 most = _mm256_add_ps(score, _mm256_mul_ps(b, _mm256_cvtepi32_ps(norm)));
        __m256 unknown = _mm256_castsi256_ps(_mm256_cmpeq_epi32(norm, _mm256_set1_epi32(UNKNOWN)));
        int kept = _mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps(most, needed, _CMP_NLT_UQ), unknown));
        alive[at / GROUP] &= (uint16_t)(at % GROUP ? kept << 8 | 0xff : kept | 0xff00);
    }
}

AVX2
static void pass_all_256(const Line *line, int64_t groups, float *scores, uint16_t *alive)
{
    if (line->halves)
        pass_all_256_of(line, groups, scores, alive, 1);
    else
        pass_all_256_of(line, groups, scores, alive, 0);
}

AVX2
static int64_t pass_listed_256(const Line *line, int64_t listed_now, float *scores, int32_t *listed)
{
    return line->halves ? pass_listed(dot_256, line, listed_now, scores, listed, 1)
                        : pass_listed(dot_256, line, listed_now, scores, listed, 0);
}

AVX512
static ALWAYS_INLINE __m512i products_512(const int8_t *codes, const int8_t *q, int halves)
{
    if (halves) {
        const __m512i four_bits = _mm512_set1_epi8(15);
        __m512i x = _mm512_loadu_si512(codes);
        __m512i first = _mm512_maddubs_epi16(_mm512_and_si512(x, four_bits), _mm512_loadu_si512(q));
        __m512i second = _mm512_maddubs_epi16(_mm512_and_si512(_mm512_srli_epi16(x, 4), four_bits),
                                              _mm512_loadu_si512(q + WIDTH));
        return _mm512_madd_epi16(_mm512_add_epi16(first, second), _mm512_set1_epi16(1));
    }
    __m512i low = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)codes));
    __m512i high = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(codes + 32)));
    return _mm512_add_epi32(_mm512_madd_epi16(low, _mm512_loadu_si512(q)),
                            _mm512_madd_epi16(high, _mm512_loadu_si512(q + WIDTH)));
}

AVX512
static ALWAYS_INLINE int32_t dot_512(const int8_t *codes, const int8_t *q, int halves)
{
    return _mm512_reduce_add_epi32(products_512(codes, q, halves));
}

/* Each row has 16 sums to add; 16 rows are added up together, half as many vectors at each step. */
AVX512
static ALWAYS_INLINE __m512i dots_512(const int8_t *codes, const int8_t *q, int halves)
{
    __m512i four[4], eight[2];
    for (int i = 0; i < 4; i++) {
        __m512i two[2];
        for (int j = 0; j < 2; j++) {
            __m512i x = products_512(codes + (4 * i + 2 * j) * WIDTH, q, halves);
            __m512i y = products_512(codes + (4 * i + 2 * j + 1) * WIDTH, q, halves);
            two[j] = _mm512_add_epi32(_mm512_unpacklo_epi32(x, y), _mm512_unpackhi_epi32(x, y));
        }
        four[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(two[0], two[1]), _mm512_unpackhi_epi64(two[0], two[1]));
    }
    for (int i = 0; i < 2; i++)
        eight[i] = _mm512_add_epi32(_mm512_shuffle_i32x4(four[2 * i], four[2 * i + 1], 0x88),
                                    _mm512_shuffle_i32x4(four[2 * i], four[2 * i + 1], 0xdd));
    return _mm512_add_epi32(_mm512_shuffle_i32x4(eight[0], eight[1], 0x88),
                            _mm512_shuffle_i32x4(eight[0], eight[1], 0xdd));
}

AVX512
static ALWAYS_INLINE void pass_all_512_of(const Line *line, int64_t groups, float *scores, uint16_t *alive, int halves)
{
    const __m512 a = _mm512_set1_ps(line->terms.a), b = _mm512_set1_ps(line->terms.b);
    const __m512 d = _mm512_set1_ps(line->terms.d);
    const __m512 needed = _mm512_set1_ps(line->needed);
    for (int64_t group = 0; group < groups; group++) {
        int64_t at = group * GROUP;
        __m512i sums = dots_512(line->codes + at * WIDTH, line->q, halves);
        __m512 score = _mm512_add_ps(_mm512_loadu_ps(scores + at), _mm512_fmadd_ps(a, _mm512_cvtepi32_ps(sums), d));
        _mm512_storeu_ps(scores + at, score);
        __m512i norm = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(line->norms + at)));
        __m512 most = _mm512_add_ps(score, _mm512_mul_ps(b, _mm512_cvtepi32_ps(norm)));
        alive[group] &= _mm512_cmp_ps_mask(most, needed, _CMP_NLT_UQ) |
                        _mm512_cmpeq_epi32_mask(norm, _mm512_set1_epi32(UNKNOWN));
    }
}

AVX512
static void pass_all_512(const Line *line, int64_t groups, float *scores, uint16_t *alive)
{
    if (line->halves)
        pass_all_512_of(line, groups, scores, alive, 1);
    else
        pass_all_512_of(line, groups, scores, alive, 0);
}

AVX512
static int64_t pass_listed_512(const Line *line, int64_t listed_now, float *scores, int32_t *listed)
{
    return line->halves ? pass_listed(dot_512, line, listed_now, scores, listed, 1)
                        : pass_listed(dot_512, line, listed_now, scores, listed, 0);
}

#endif

/* Returns 0 where this processor has not what a level needs. */
static int choose_kernels(Base *base, int level)
{
#if HAS_INTRINSICS
    int has_256 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    int has_512 = has_256 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512dq");
    if ((level == 0 || level == 4) && has_512) {
        base->pass_all = pass_all_512;
        base->pass_listed = pass_listed_512;
        return 1;
    }
    if ((level == 0 || level == 2) && has_256) {
        base->pass_all = pass_all_256;
        base->pass_listed = pass_listed_256;
        return 1;
    }
#endif
    base->pass_all = pass_all_plain;
    base->pass_listed = pass_listed_plain;
    return level == 0 || level == 1;
}

/* -- one block, one query --------------------------------------------------------------------- */

/* How many bits of [0, m) are set. */
static int64_t count_bits(const uint16_t *bits, int64_t m)
{
    int64_t count = 0;
    for (int64_t i = 0; i < m; i += GROUP) {
        uint32_t some = bits[i / GROUP];
        some = (some & 0x5555) + (some >> 1 & 0x5555);
        some = (some & 0x3333) + (some >> 2 & 0x3333);
        some = (some & 0x0f0f) + (some >> 4 & 0x0f0f);
        count += (some & 0xff) + (some >> 8);
    }
    return count;
}

/* Mark rows [0, m) that may be answered, `first` being the number of the first. */
static void mark_allowed(const uint8_t *allowed, int64_t first, int64_t m, uint16_t *alive)
{
    memset(alive, 0, BLOCK / GROUP * sizeof *alive);
    for (int64_t i = 0; i < m; i += GROUP) {
        int64_t byte = (first + i) >> 3; /* `first` is a multiple of BLOCK, and that of 8 */
        uint32_t bits = allowed == NULL ? 0xffff : allowed[byte];
        if (allowed != NULL && m - i > 8)
            bits |= (uint32_t)allowed[byte + 1] << 8;
        alive[i / GROUP] = (uint16_t)(m - i < GROUP ? bits & ((1u << (m - i)) - 1) : bits);
    }
}

#if !defined(__GNUC__)
static int first_bit(uint32_t bits)
{
    int at = 0;
    while (!((bits >> at) & 1))
        at++;
    return at;
}
#endif

/* List the rows whose bits are set. */
static int64_t list(const uint16_t *bits, int64_t m, int32_t *listed)
{
    int64_t count = 0;
    for (int64_t i = 0; i < m; i += GROUP)
        for (uint32_t some = bits[i / GROUP]; some; some &= some - 1)
            listed[count++] = (int32_t)i + FIRST_BIT(some);
    return count;
}

/* Pass over all rows [0, m): whole groups at once, and the rest of them one by one. Returns how many are left. */
static int64_t pass_block(const Base *base, const Line *line, int64_t m, float *scores, uint16_t *alive)
{
    int64_t whole = m / GROUP;
    base->pass_all(line, whole, scores, alive);
    if (whole * GROUP < m) {
        int32_t last[GROUP];
        for (int64_t i = whole * GROUP; i < m; i++)
            last[i % GROUP] = (int32_t)i;
        int64_t count = base->pass_listed(line, m % GROUP, scores, last);
        uint16_t kept = 0;
        for (int64_t i = 0; i < count; i++)
            kept |= (uint16_t)(1u << last[i] % GROUP);
        alive[whole] &= kept;
    }
    return count_bits(alive, m);
}

/* Remember that one more row reaches `lower`. */
static void raise_threshold(Search *one, float lower, int64_t k)
{
    float *heap = one->heap;
    int64_t at;
    if (isnan(lower))
        return;
    if (one->filled < k) {
        at = one->filled++;
        while (at > 0 && heap[(at - 1) / 2] > lower) {
            heap[at] = heap[(at - 1) / 2];
            at = (at - 1) / 2;
        }
        heap[at] = lower;
    } else if (lower > heap[0]) {
        at = 0;
        for (;;) {
            int64_t child = 2 * at + 1;
            if (child >= k)
                break;
            if (child + 1 < k && heap[child + 1] < heap[child])
                child++;
            if (heap[child] >= lower)
                break;
            heap[at] = heap[child];
            at = child;
        }
        heap[at] = lower;
    }
    if (one->filled == k && heap[0] > one->threshold)
        one->threshold = heap[0];
}

/* Forget rows that cannot reach the threshold any more; make room where that did not. Returns 0 without memory. */
static int tidy(Search *one, int64_t wanted)
{
    int64_t count = 0;
    for (int64_t i = 0; i < one->count; i++) {
        if (!(one->upper[i] < one->threshold)) {
            one->rows[count] = one->rows[i];
            one->upper[count++] = one->upper[i];
        }
    }
    one->count = count;
    if (count + wanted <= one->room / 2)
        return 1;
    int64_t room = 2 * (count + wanted);
    int64_t *rows = realloc(one->rows, (size_t)room * sizeof *rows);
    if (rows != NULL)
        one->rows = rows;
    float *upper = realloc(one->upper, (size_t)room * sizeof *upper);
    if (upper != NULL)
        one->upper = upper;
    if (rows == NULL || upper == NULL)
        return 0;
    one->room = room;
    return 1;
}

/* Line s of the rows from `first` on. */
static Line line_of(const Base *base, const Search *one, int64_t s, int64_t first)
{
    int64_t pairs = (base->lines - base->whole) / 2, last = base->whole + pairs - 1;
    Line line = {base->codes + (s * base->n + first) * WIDTH,
                 base->norms + (s > last ? last : s) * base->n + first,
                 one->q + (s > last ? s - pairs : s) * 2 * WIDTH,
                 one->terms[s],
                 one->threshold - one->terms[s].c,
                 s >= base->whole};
    return line;
}

/* Look at one block of rows for one query. Returns 0 when memory ran out. */
static int scan_block(const Base *base, Search *one, int64_t first, int64_t m)
{
    float scores[BLOCK];
    int32_t listed[BLOCK];
    uint16_t alive[BLOCK / GROUP];
    int dense = 1;
    mark_allowed(base->allowed, first, m, alive);
    int64_t count = count_bits(alive, m);
    memset(scores, 0, sizeof scores);
    for (int64_t s = 0; s < base->lines && count; s++) {
        Line line = line_of(base, one, s, first);
        /* Most of a block is read faster in one go than row by row. */
        if (dense && DENSE * count < m) {
            list(alive, m, listed);
            dense = 0;
        }
        one->scanned += dense ? m : count;
        count = dense ? pass_block(base, &line, m, scores, alive)
                      : base->pass_listed(&line, count, scores, listed);
    }
    if (!count)
        return 1;
    if (dense)
        list(alive, m, listed);
    if (one->count + count > one->room && !tidy(one, count))
        return 0;
    Terms last = one->terms[base->lines - 1];
    const uint8_t *norms = line_of(base, one, base->lines - 1, first).norms;
    for (int64_t i = 0; i < count; i++) {
        int known = norms[listed[i]] != UNKNOWN;
        float slack = known ? last.c + last.b * (float)norms[listed[i]] : INFINITY;
        one->rows[one->count] = first + listed[i];
        one->upper[one->count++] = scores[listed[i]] + slack;
        if (known)
            raise_threshold(one, scores[listed[i]] - slack, base->k);
    }
    return 1;
}

static int scan(const Base *base, Search *searches, int64_t nq)
{
    for (int64_t first = 0; first < base->n; first += BLOCK) {
        int64_t m = base->n - first < BLOCK ? base->n - first : BLOCK;
        for (int64_t i = 0; i < nq; i++)
            if (!scan_block(base, &searches[i], first, m))
                return 0;
    }
    for (int64_t i = 0; i < nq; i++)
        if (!tidy(&searches[i], 0))
            return 0;
    return 1;
}

static PyObject *answers(const Search *searches, int64_t nq)
{
    PyObject *list = PyList_New((Py_ssize_t)nq);
    for (int64_t i = 0; list != NULL && i < nq; i++) {
        PyObject *one = Py_BuildValue("(y#L)", (const char *)searches[i].rows,
                                      (Py_ssize_t)(searches[i].count * (int64_t)sizeof(int64_t)),
                                      (long long)searches[i].scanned);
        if (one == NULL || PyList_SetItem(list, (Py_ssize_t)i, one) < 0) {
            Py_DECREF(list);
            return NULL;
        }
    }
    return list;
}

static PyObject *run(const Base *base, const Py_buffer *queries, const Py_buffer *terms, const Py_buffer *floors,
                     int64_t nq)
{
    PyObject *found = NULL;
    int whole = 1;
    Search *searches = calloc((size_t)nq + 1, sizeof *searches);
    float *heaps = searches == NULL ? NULL : malloc((size_t)(nq * base->k + 1) * sizeof *heaps);
    if (heaps == NULL)
        whole = 0;
    for (int64_t i = 0; whole && i < nq; i++) {
        Search *one = &searches[i];
        one->q = (const int8_t *)queries->buf + i * (base->lines + base->whole) / 2 * 2 * WIDTH;
        one->terms = (const Terms *)terms->buf + i * base->lines;
        one->heap = heaps + i * base->k;
        float floor = ((const float *)floors->buf)[i];
        one->threshold = floor > -INFINITY ? floor : -INFINITY; /* nor is NaN a floor */
        whole = tidy(one, 64);
    }
    if (whole) {
        Py_BEGIN_ALLOW_THREADS
        whole = scan(base, searches, nq);
        Py_END_ALLOW_THREADS
    }
    if (whole)
        found = answers(searches, nq);
    else
        PyErr_NoMemory();
    for (int64_t i = 0; searches != NULL && i < nq; i++) {
        free(searches[i].rows);
        free(searches[i].upper);
    }
    free(heaps);
    free(searches);
    return found;
}

/* Whether the buffers have the sizes and places they must have, without a product that could overflow. */
static int fits(const Py_buffer *parts, long long n, long long whole, long long k, int64_t *nq, int64_t *lines)
{
    if ((uintptr_t)parts[2].buf % sizeof(int16_t) || (uintptr_t)parts[3].buf % sizeof(float) ||
        (uintptr_t)parts[4].buf % sizeof(float))
        return 0;
    if (n < 1 || n > INT64_MAX / 1024 || k < 1 || k > n)
        return 0;
    *nq = parts[4].len / (Py_ssize_t)sizeof(float);
    *lines = parts[0].len / WIDTH / n;
    int64_t s = *lines;
    if (s < 1 || s > 4096 || *nq < 1 || *nq > INT32_MAX || k > INT64_MAX / 1024 / *nq)
        return 0;
    if (whole < 1 || whole > s || (s - whole) % 2)
        return 0;
    return parts[0].len == s * n * WIDTH && parts[1].len == (s + whole) / 2 * n &&
           parts[2].len == *nq * ((s + whole) / 2) * 2 * WIDTH &&
           parts[3].len == *nq * s * (int64_t)sizeof(Terms) && parts[4].len == *nq * (int64_t)sizeof(float) &&
           (parts[5].len == 0 || parts[5].len == (n + 7) / 8);
}

static PyObject *prune(PyObject *self, PyObject *args)
{
    (void)self;
    Py_buffer parts[6];
    long long n, whole, k;
    int64_t nq, lines;
    PyObject *found = NULL;
    int level;
    Base base = {0};
    if (!PyArg_ParseTuple(args, "y*y*LLy*y*y*Ly*i", &parts[0], &parts[1], &n, &whole, &parts[2], &parts[3],
                          &parts[4], &k, &parts[5], &level))
        return NULL;
    if (!fits(parts, n, whole, k, &nq, &lines)) {
        PyErr_SetString(PyExc_ValueError, "prune: the sizes of codes, norms, queries and bounds do not fit together");
    } else if (!choose_kernels(&base, level)) {
        PyErr_Format(PyExc_NotImplementedError, "prune: this processor has not what level %d needs", level);
    } else {
        base.codes = parts[0].buf, base.norms = parts[1].buf, base.allowed = parts[5].len ? parts[5].buf : NULL;
        base.n = n, base.lines = lines, base.whole = whole, base.k = k;
        found = run(&base, &parts[2], &parts[3], &parts[4], nq);
    }
    for (int i = 0; i < 6; i++)
        PyBuffer_Release(&parts[i]);
    return found;
}

static PyMethodDef methods[] = {
    {"prune", prune, METH_VARARGS, "Return, for each query, the rows that can be among its k best; see the source."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "indexers.kernels._prune", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__prune(void) { return PyModule_Create(&module); }
