/* Offers a load of Ethernet frames on one interface: a bounded count, for a bounded time, at a rate; prints one line of JSON.
 *
 * For the recorder benchmark, in a network namespace of its own. Why C: a recorder is measured, not the generator; Python offers
 * some ten thousand frames a second. sendmmsg on a packet socket that bypasses the queueing discipline: what is sent is on the wire.
 *
 * generator INTERFACE SIZE FRAMES_PER_S SECONDS     SIZE: bytes of a frame without its check sequence (60..1514), or imix
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define POOL 3072 /* different frames: 256 sources x 16 destinations x 64 ports, taken in turn; a multiple of IMIX_PERIOD */
#define BATCH 64
#define FRAME_MAX 1514
#define SECONDS_MAX 60
#define FRAMES_MAX 100000000ull
#define IMIX_PERIOD 12

static uint8_t frames[POOL][FRAME_MAX];
static uint32_t sizes[POOL];

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* An IPv4 UDP datagram; the payload is half text-like, half noise, so that compressing it is neither trivial nor in vain. */
static void fill(uint8_t *b, uint32_t size, uint32_t number)
{
    static const uint8_t head[14] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0};
    uint16_t *w;
    memset(b, 0, size);
    memcpy(b, head, 14);
    b[14] = 0x45;
    w = (uint16_t *)(b + 16), *w = htons((uint16_t)(size - 14));
    b[22] = 64;
    b[23] = 17;
    b[26] = 10, b[29] = (uint8_t)number;
    b[30] = 10, b[32] = 1, b[33] = (uint8_t)(number >> 8 & 15);
    w = (uint16_t *)(b + 34), *w = htons((uint16_t)(10000 + (number & 63)));
    w = (uint16_t *)(b + 36), *w = htons(104);
    w = (uint16_t *)(b + 38), *w = htons((uint16_t)(size - 34));
    uint32_t x = number * 2654435761u + 1;
    for (uint32_t k = 42; k < size; k++) {
        x = x * 1664525u + 1013904223u;
        b[k] = k & 64 ? (uint8_t)(x >> 24) : (uint8_t)k;
    }
}

int main(int count, char **words)
{
    static const uint32_t imix[IMIX_PERIOD] = {60, 590, 60, 60, 590, 60, 1514, 60, 590, 60, 590, 60}; /* 7:4:1 */
    if (count != 5) {
        fprintf(stderr, "generator INTERFACE SIZE FRAMES_PER_S SECONDS\n");
        return 2;
    }
    int mixed = !strcmp(words[2], "imix");
    uint32_t size = mixed ? 0 : (uint32_t)atoi(words[2]);
    double rate = atof(words[3]), seconds = atof(words[4]);
    if ((!mixed && (size < 60 || size > FRAME_MAX)) || rate <= 0 || rate > 1e8 || seconds <= 0 || seconds > SECONDS_MAX) {
        fprintf(stderr, "expected a size of 60 to %d or imix, a rate above 0 and at most %d seconds\n", FRAME_MAX, SECONDS_MAX);
        return 2;
    }
    for (uint32_t i = 0; i < POOL; i++) {
        sizes[i] = mixed ? imix[i % IMIX_PERIOD] : size;
        fill(frames[i], sizes[i], i);
    }
    int out = socket(AF_PACKET, SOCK_RAW, 0), one = 1;
    struct sockaddr_ll where = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(words[1])};
    if (out < 0 || !where.sll_ifindex || setsockopt(out, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one) || bind(out, (struct sockaddr *)&where, sizeof where)) {
        perror(words[1]);
        return 1;
    }
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    memset(messages, 0, sizeof messages);
    uint64_t sent = 0, bytes = 0, errors = 0, start = now_ns(), end = start + (uint64_t)(seconds * 1e9), now = start;
    while ((now = now_ns()) < end && sent < FRAMES_MAX) {
        double due = (double)(now - start) * rate / 1e9 - (double)sent;
        if (due < 1)
            continue;
        unsigned batch = due < BATCH ? (unsigned)due : BATCH;
        for (unsigned k = 0; k < batch; k++) {
            uint32_t place = (uint32_t)((sent + k) % POOL);
            parts[k] = (struct iovec){frames[place], sizes[place]};
            messages[k].msg_hdr.msg_iov = &parts[k];
            messages[k].msg_hdr.msg_iovlen = 1;
        }
        int done = sendmmsg(out, messages, batch, 0);
        if (done < 0) {
            errors++;
            continue;
        }
        for (int k = 0; k < done; k++)
            bytes += parts[k].iov_len;
        sent += (uint64_t)done;
    }
    double took = (double)(now_ns() - start) / 1e9;
    printf("{\"sent\": %llu, \"bytes\": %llu, \"seconds\": %.4f, \"errors\": %llu}\n", (unsigned long long)sent, (unsigned long long)bytes, took, (unsigned long long)errors);
    close(out);
    return 0;
}
