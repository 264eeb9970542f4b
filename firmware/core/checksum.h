/* xxh32 with seed 0, the block checksum of the LZ4 frame format; github.com/Cyan4973/xxHash/doc. For kernel.c and digest.c. */
#ifndef SCRUBJAY_CHECKSUM_H
#define SCRUBJAY_CHECKSUM_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SUM_STEP 16

/* One under way: what of the data is behind it. */
struct checksum {
    const uint8_t *at, *end;
    uint32_t lane[4];
    size_t size;
};

static const uint32_t sum_primes[5] = {2654435761u, 2246822519u, 3266489917u, 668265263u, 374761393u};

static inline uint32_t sum_word(const uint8_t *b)
{
    uint32_t word;
    memcpy(&word, b, 4);
    return word;
}

static inline uint32_t turned(uint32_t x, int n) { return x << n | x >> (32 - n); }

static inline struct checksum checksum_of(const uint8_t *data, size_t size)
{
    return (struct checksum){data, data + size, {sum_primes[0] + sum_primes[1], sum_primes[1], 0, 0u - sum_primes[0]}, size};
}

/* SUM_STEP bytes, which are there. */
static inline void checksum_step(struct checksum *s)
{
    for (int i = 0; i < 4; i++)
        s->lane[i] = turned(s->lane[i] + sum_word(s->at + 4 * i) * sum_primes[1], 13) * sum_primes[0];
    s->at += SUM_STEP;
}

/* All that is left of it, and the sum. */
static inline uint32_t checksum_end(struct checksum *of)
{
    struct checksum s = *of;
    while (s.end - s.at >= SUM_STEP)
        checksum_step(&s);
    uint32_t h = s.size < SUM_STEP ? sum_primes[4] : turned(s.lane[0], 1) + turned(s.lane[1], 7) + turned(s.lane[2], 12) + turned(s.lane[3], 18);
    h += (uint32_t)s.size;
    for (; s.end - s.at >= 4; s.at += 4)
        h = turned(h + sum_word(s.at) * sum_primes[2], 17) * sum_primes[3];
    for (; s.at < s.end; s.at++)
        h = turned(h + *s.at * sum_primes[4], 11) * sum_primes[0];
    h = (h ^ h >> 15) * sum_primes[1];
    h = (h ^ h >> 13) * sum_primes[2];
    return h ^ h >> 16;
}

#endif
