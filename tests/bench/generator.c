/* Offers a load of Ethernet frames on one interface: a bounded count, for a bounded time, at a rate; prints one line of JSON.
 *
 * For the recorder benchmark, in a network namespace of its own. Why C: a recorder is measured, not the generator; Python offers
 * some ten thousand frames a second. Two ways:
 *   send    sendmmsg on a packet socket that bypasses the queueing discipline: what is sent is on the wire
 *   arrive  the kernel itself lets frames arrive on INTERFACE as if its driver had received them (BPF_PROG_TEST_RUN with live frames,
 *           an XDP program that numbers, paces and passes them): a third of the cost, so that a virtual machine reaches 1 GbE line rate
 *
 * generator INTERFACE SIZE FRAMES_PER_S SECONDS send|arrive     SIZE: bytes of a frame without its check sequence (60..1514), or imix
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
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

/* What the XDP program keeps between frames. Times in ns << 8. */
struct pace { uint64_t sent, due, gap, mixed; };

static long bpf(int command, union bpf_attr *attributes) { return syscall(SYS_bpf, command, attributes, sizeof *attributes); }

#define OPS_BEGIN 38 /* before the noise */
#define OPS_MAX 512
#define OP(code_, to, from, offset, value) ((struct bpf_insn){.code = (code_), .dst_reg = (to), .src_reg = (from), .off = (offset), .imm = (value)})
#define LOAD64(to, from, offset) OP(BPF_LDX | BPF_MEM | BPF_DW, to, from, offset, 0)
#define LOAD32(to, from, offset) OP(BPF_LDX | BPF_MEM | BPF_W, to, from, offset, 0)
#define STORE64(to, offset, from) OP(BPF_STX | BPF_MEM | BPF_DW, to, from, offset, 0)
#define STORE8(to, offset, from) OP(BPF_STX | BPF_MEM | BPF_B, to, from, offset, 0)
#define COPY(to, from) OP(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0)
#define SET(to, value) OP(BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, value)
#define WITH(operation, to, value) OP(BPF_ALU64 | (operation) | BPF_K, to, 0, 0, value)
#define WITH_REGISTER(operation, to, from) OP(BPF_ALU64 | (operation) | BPF_X, to, from, 0, 0)
#define WHEN(comparison, what, value, skip) OP(BPF_JMP | (comparison) | BPF_K, what, 0, skip, value)
#define WHEN_REGISTER(comparison, what, other, skip) OP(BPF_JMP | (comparison) | BPF_X, what, other, skip, 0)
#define CALL(function) OP(BPF_JMP | BPF_CALL, 0, 0, 0, function)

/* Lets `want` frames arrive, one every `gap` ns << 8; sources, destinations and ports in turn as in `fill`. Returns how many did, -1: errno. */
static int64_t arrive(unsigned interface, uint8_t *frame, uint32_t size, int mixed, double rate, uint64_t want)
{
    struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_MEMLOCK, &all);
    union bpf_attr a = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = sizeof(struct pace), .max_entries = 1};
    int map = (int)bpf(BPF_MAP_CREATE, &a);
    if (map < 0)
        return -1;
    struct bpf_insn program[OPS_MAX] = {
        COPY(6, 1), LOAD32(7, 6, 0), LOAD32(2, 6, 4), COPY(3, 7), WITH(BPF_ADD, 3, (int)size), WHEN_REGISTER(BPF_JGT, 3, 2, 0), /* r7: frame */
        OP(BPF_LD | BPF_IMM | BPF_DW, 8, BPF_PSEUDO_MAP_VALUE, 0, map), OP(0, 0, 0, 0, 0),                                 /* r8: pace */
        LOAD64(1, 8, 8), LOAD64(2, 8, 16), WITH_REGISTER(BPF_ADD, 1, 2), STORE64(8, 8, 1), COPY(9, 1), WITH(BPF_RSH, 9, 8),
        SET(1, 4000), STORE64(10, -8, 1),                                          /* until it is due, but not for ever */
        CALL(BPF_FUNC_ktime_get_ns), WHEN_REGISTER(BPF_JGE, 0, 9, 4), LOAD64(1, 10, -8), WITH(BPF_SUB, 1, 1), STORE64(10, -8, 1),
        WHEN(BPF_JNE, 1, 0, -6),
        LOAD64(3, 8, 0), COPY(1, 3), WITH(BPF_ADD, 1, 1), STORE64(8, 0, 1),        /* r3: its number */
        STORE8(7, 29, 3), COPY(1, 3), WITH(BPF_RSH, 1, 8), WITH(BPF_AND, 1, 15), STORE8(7, 33, 1),
        COPY(1, 3), WITH(BPF_AND, 1, 63), STORE8(7, 35, 1), STORE64(7, 42, 3),
        OP(BPF_LD | BPF_IMM | BPF_DW, 4, 0, 0, 0x7f4a7c15), OP(0, 0, 0, 0, (int)0x9e3779b9u), WITH_REGISTER(BPF_MUL, 4, 3),
    };
    const struct bpf_insn ending[] = {
        LOAD64(1, 8, 24), WHEN(BPF_JEQ, 1, 0, 11),                                  /* mixed: cut to its size, 7:4:1 */
        COPY(1, 3), WITH(BPF_MUL, 1, 7), WITH(BPF_MOD, 1, 12), SET(2, 60 - FRAME_MAX), WHEN(BPF_JLT, 1, 7, 3), SET(2, 590 - FRAME_MAX),
        WHEN(BPF_JLT, 1, 11, 1), SET(2, 0), WHEN(BPF_JEQ, 2, 0, 2), COPY(1, 6), CALL(BPF_FUNC_xdp_adjust_tail),
        SET(0, XDP_PASS), OP(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
    };
    uint32_t count = OPS_BEGIN;
    /* Noise where `fill` has noise, another in every frame: what compresses in one of ours shall not compress by being the same again. */
    for (uint32_t k = 64; k + 8 <= size; k += 8)
        if (k & 64) {
            program[count++] = WITH(BPF_MUL, 4, 1664525);
            program[count++] = WITH(BPF_ADD, 4, 1013904223);
            program[count++] = STORE64(7, (int16_t)k, 4);
        }
    memcpy(program + count, ending, sizeof ending);
    count += sizeof ending / sizeof *ending;
    program[5].off = (int16_t)(count - 2 - 6);
    a = (union bpf_attr){.prog_type = BPF_PROG_TYPE_XDP, .insns = (uintptr_t)program, .insn_cnt = count, .license = (uintptr_t)"GPL"};
    int loaded = (int)bpf(BPF_PROG_LOAD, &a);
    if (loaded < 0)
        return -1;
    uint32_t first = 0;
    /* The first frames wait for the kernel to set up, some 20 ms. */
    struct pace pace = {.due = (now_ns() + 30000000) << 8, .gap = (uint64_t)(256e9 / rate), .mixed = (uint64_t)mixed};
    a = (union bpf_attr){.map_fd = (uint32_t)map, .key = (uintptr_t)&first, .value = (uintptr_t)&pace};
    if (bpf(BPF_MAP_UPDATE_ELEM, &a))
        return -1;
    struct xdp_md context = {.data_end = size, .ingress_ifindex = interface};
    a = (union bpf_attr){.test = {.prog_fd = (uint32_t)loaded, .data_in = (uintptr_t)frame, .data_size_in = size, .ctx_in = (uintptr_t)&context,
        .ctx_size_in = sizeof context, .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = BATCH, .repeat = (uint32_t)want}};
    if (bpf(BPF_PROG_TEST_RUN, &a) && errno != EINTR)
        return -1;
    a = (union bpf_attr){.map_fd = (uint32_t)map, .key = (uintptr_t)&first, .value = (uintptr_t)&pace};
    return bpf(BPF_MAP_LOOKUP_ELEM, &a) ? -1 : (int64_t)pace.sent;
}

int main(int count, char **words)
{
    static const uint32_t imix[IMIX_PERIOD] = {60, 590, 60, 60, 590, 60, 1514, 60, 590, 60, 590, 60}; /* 7:4:1 */
    if (count != 6) {
        fprintf(stderr, "generator INTERFACE SIZE FRAMES_PER_S SECONDS send|arrive\n");
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
    if (!strcmp(words[5], "arrive")) {
        uint64_t begins = now_ns();
        uint32_t longest = mixed ? FRAME_MAX : size;
        fill(frames[0], longest, 0);
        int64_t arrived = arrive(if_nametoindex(words[1]), frames[0], longest, mixed, rate, (uint64_t)(rate * seconds));
        if (arrived < 0) {
            perror("frames cannot be made to arrive");
            return 1;
        }
        printf("{\"sent\": %lld, \"seconds\": %.4f, \"errors\": 0}\n", (long long)arrived, (double)(now_ns() - begins) / 1e9);
        return 0;
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
