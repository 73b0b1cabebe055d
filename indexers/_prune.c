/* The scan behind indexers/pruned.py, which explains it: one pass over 8-bit codes that lie segment by segment.

   prune(codes, norms, n, queries, terms, floors, k, allowed) -> [(rows, scanned), ...]

     codes    int8 [S, n, 64]     row i's numbers of segment s
     norms    uint8 [S, n]        how long the rest of row i is after segment s; 255: nobody knows
     queries  int16 [nq, S, 64]
     terms    float32 [nq, S, 3]  (a, b, c): a dot product counts a-fold, and with norm code u a score is within
                                  b·u + c of what the first segments say
     floors   float32 [nq]        k rows are known to reach this score; -inf if none are
     k        rows wanted, >= 1
     allowed  uint8 [ceil(n / 8)] bitmap of rows that may be answered, least significant bit first; empty for all

   rows is int64: every allowed row that can be among the k best, and few others, ascending. scanned counts the
   codes that were looked at, in segments of 64 bytes.

   All sizes are checked before a byte is read. The interpreter lock is released while it runs. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 64    /* numbers a segment: one line of the cache a row */
#define BLOCK 2048  /* rows at a time: their first segments stay in the second-level cache for the next query */
#define DENSE 4      /* from a quarter of a block on */
#define UNKNOWN 255 /* a norm code that promises nothing */

/* Plain loops over fixed lengths: compilers make SIMD of them, for whichever processor it runs on. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

typedef struct {
    float a, b, c;
} Terms;

/* What is known about one query. */
typedef struct {
    const int16_t *q;   /* [S, WIDTH] */
    const Terms *terms; /* [S] */
    float *heap;        /* the k best lower bounds so far, the worst first */
    int64_t filled;
    float threshold;    /* k rows reach it */
    int64_t *rows;
    float *upper;
    int64_t count, room, scanned;
} Search;

typedef struct {
    const int8_t *codes;
    const uint8_t *norms;
    const uint8_t *allowed; /* NULL: every row */
    int64_t n, segments, k;
} Base;

/* Add a segment's share to the scores of rows [0, m). */
FOR_EACH_PROCESSOR
static void score_all(const int8_t *restrict codes, const int16_t *restrict q, float a, int64_t m,
                      float *restrict scores)
{
    for (int64_t i = 0; i < m; i++) {
        const int8_t *x = codes + i * WIDTH;
        int32_t sum = 0;
        for (int j = 0; j < WIDTH; j++)
            sum += (int32_t)x[j] * (int32_t)q[j];
        scores[i] += a * (float)sum;
    }
}

/* Do so for the listed rows alone. */
FOR_EACH_PROCESSOR
static void score_listed(const int8_t *restrict codes, const int16_t *restrict q, float a, int64_t count,
                         const int32_t *restrict listed, float *restrict scores)
{
    for (int64_t i = 0; i < count; i++) {
        const int8_t *x = codes + (int64_t)listed[i] * WIDTH;
#if defined(__GNUC__)
        if (i + 8 < count)
            __builtin_prefetch(codes + (int64_t)listed[i + 8] * WIDTH);
#endif
        int32_t sum = 0;
        for (int j = 0; j < WIDTH; j++)
            sum += (int32_t)x[j] * (int32_t)q[j];
        scores[listed[i]] += a * (float)sum;
    }
}

/* List the rows of [0, m) that can still reach what is needed. */
FOR_EACH_PROCESSOR
static int64_t keep_all(const uint8_t *restrict norms, float b, float needed, int64_t m, const float *restrict scores,
                        int32_t *restrict listed)
{
    uint8_t kept[BLOCK];
    for (int64_t i = 0; i < m; i++)
        kept[i] = (scores[i] + b * (float)norms[i] >= needed) | (norms[i] == UNKNOWN);
    int64_t count = 0;
    for (int64_t i = 0; i < m; i++) {
        listed[count] = (int32_t)i;
        count += kept[i];
    }
    return count;
}

/* Of the listed rows, keep those that can. */
static int64_t keep_listed(const uint8_t *norms, float b, float needed, int64_t listed_now, const float *scores,
                           int32_t *listed)
{
    int64_t count = 0;
    for (int64_t i = 0; i < listed_now; i++) {
        int32_t row = listed[i];
        listed[count] = row;
        count += (scores[row] + b * (float)norms[row] >= needed) | (norms[row] == UNKNOWN);
    }
    return count;
}

static int64_t keep_allowed(const uint8_t *allowed, int64_t first, int64_t listed_now, int32_t *listed)
{
    int64_t count = 0;
    for (int64_t i = 0; i < listed_now; i++) {
        int64_t row = first + listed[i];
        listed[count] = listed[i];
        count += (allowed[row >> 3] >> (row & 7)) & 1;
    }
    return count;
}

/* Remember that one more row reaches `lower`. */
static void raise_threshold(Search *one, float lower, int64_t k)
{
    float *heap = one->heap;
    int64_t at;
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
        if (one->upper[i] >= one->threshold) {
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

/* Look at one block of rows for one query. Returns 0 when memory ran out. */
static int scan_block(const Base *base, Search *one, int64_t first, int64_t m)
{
    float scores[BLOCK];
    int32_t listed[BLOCK];
    int64_t count = m;
    memset(scores, 0, sizeof scores);
    for (int64_t s = 0; s < base->segments && count; s++) {
        const int8_t *codes = base->codes + (s * base->n + first) * WIDTH;
        const uint8_t *norms = base->norms + s * base->n + first;
        const int16_t *q = one->q + s * WIDTH;
        Terms terms = one->terms[s];
        float needed = one->threshold - terms.c;
        /* Most of a block is read faster in one go than row by row. */
        int dense = DENSE * count >= m;
        one->scanned += dense ? m : count;
        if (dense)
            score_all(codes, q, terms.a, m, scores);
        else
            score_listed(codes, q, terms.a, count, listed, scores);
        if (s == 0) {
            count = keep_all(norms, terms.b, needed, m, scores, listed);
            if (base->allowed != NULL)
                count = keep_allowed(base->allowed, first, count, listed);
        } else {
            count = keep_listed(norms, terms.b, needed, count, scores, listed);
        }
    }
    if (!count)
        return 1;
    if (one->count + count > one->room && !tidy(one, count))
        return 0;
    Terms last = one->terms[base->segments - 1];
    const uint8_t *norms = base->norms + (base->segments - 1) * base->n + first;
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
        one->q = (const int16_t *)queries->buf + i * base->segments * WIDTH;
        one->terms = (const Terms *)terms->buf + i * base->segments;
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
static int fits(const Py_buffer *parts, long long n, long long k, int64_t *nq, int64_t *segments)
{
    if ((uintptr_t)parts[2].buf % sizeof(int16_t) || (uintptr_t)parts[3].buf % sizeof(float) ||
        (uintptr_t)parts[4].buf % sizeof(float))
        return 0;
    if (n < 1 || n > INT64_MAX / 1024 || k < 1 || k > n)
        return 0;
    *nq = parts[4].len / (Py_ssize_t)sizeof(float);
    *segments = parts[1].len / n;
    int64_t s = *segments, lines = parts[0].len / WIDTH;
    if (s < 1 || s > 4096 || *nq < 1 || *nq > INT32_MAX || k > INT64_MAX / 1024 / *nq)
        return 0;
    return parts[1].len == s * n && parts[0].len == lines * WIDTH && lines == s * n &&
           parts[2].len == *nq * s * WIDTH * (int64_t)sizeof(int16_t) &&
           parts[3].len == *nq * s * (int64_t)sizeof(Terms) && parts[4].len == *nq * (int64_t)sizeof(float) &&
           (parts[5].len == 0 || parts[5].len == (n + 7) / 8);
}

static PyObject *prune(PyObject *self, PyObject *args)
{
    (void)self;
    Py_buffer parts[6];
    long long n, k;
    int64_t nq, segments;
    PyObject *found = NULL;
    if (!PyArg_ParseTuple(args, "y*y*Ly*y*y*Ly*", &parts[0], &parts[1], &n, &parts[2], &parts[3], &parts[4], &k,
                          &parts[5]))
        return NULL;
    if (fits(parts, n, k, &nq, &segments)) {
        Base base = {parts[0].buf, parts[1].buf, parts[5].len ? parts[5].buf : NULL, n, segments, k};
        found = run(&base, &parts[2], &parts[3], &parts[4], nq);
    } else {
        PyErr_SetString(PyExc_ValueError, "prune: the sizes of codes, norms, queries and bounds do not fit together");
    }
    for (int i = 0; i < 6; i++)
        PyBuffer_Release(&parts[i]);
    return found;
}

static PyMethodDef methods[] = {
    {"prune", prune, METH_VARARGS, "Return, for each query, the rows that can be among its k best; see the source."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "indexers._prune", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__prune(void) { return PyModule_Create(&module); }
