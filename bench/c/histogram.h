/* Latency in ns, as counts of log-linear buckets: 1024 to each power of two, so 0.1 % wide. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include "bench.h"

#define BUCKET_BITS 10
#define BUCKETS ((64 - BUCKET_BITS + 1) << BUCKET_BITS)

static uint64_t latency[BUCKETS];

static inline int bucket_of(uint64_t ns) {
    if (ns < 1 << BUCKET_BITS)
        return ns;
    int shift = 63 - __builtin_clzll(ns) - BUCKET_BITS;
    return ((shift + 1) << BUCKET_BITS) + (int)((ns >> shift) - (1 << BUCKET_BITS));
}

/* The middle of a bucket. */
static inline uint64_t value_of(int bucket) {
    int shift = (bucket >> BUCKET_BITS) - 1;
    if (shift < 0)
        return bucket;
    uint64_t low = ((uint64_t)((bucket & ((1 << BUCKET_BITS) - 1)) | 1 << BUCKET_BITS)) << shift;
    return low + (UINT64_C(1) << shift) / 2;
}

/* An event that was due at t has been read. */
static inline void record_latency(int64_t t, int64_t read_ns) {
    latency[bucket_of(read_ns > t ? read_ns - t : 0)]++;
}

static inline void clear_latency(void) {
    memset(latency, 0, sizeof latency);
}

static inline void print_latency(void) {
    const char *comma = "";
    printf("\"latency_ns\": [");
    for (int bucket = 0; bucket < BUCKETS; bucket++) {
        if (latency[bucket]) {
            printf("%s[%" PRIu64 ", %" PRIu64 "]", comma, value_of(bucket), latency[bucket]);
            comma = ", ";
        }
    }
    printf("]");
}

static inline const char *skip_number(const char *at, const char *end, int64_t *number) {
    for (*number = 0; at < end && *at >= '0' && *at <= '9'; at++)
        *number = *number * 10 + (*at - '0');
    return at;
}

/* Finds the time and the number of an event, false when it has none. They are looked for by hand, as memmem()
 * and strtoll() would take two thirds of the client's time; "n" follows "t" at once, as it was written. */
static inline bool find_numbers(const char *at, const char *end, int64_t *t, int64_t *n) {
    while (at + 4 <= end && memcmp(at, "\"t\":", 4) != 0)
        at++;
    at = skip_number(at + 4, end, t);
    if (at + 5 > end || memcmp(at, ",\"n\":", 5) != 0)
        return false;
    skip_number(at + 5, end, n);
    return true;
}

#endif
