/* A clock of a program's own, to be steered: preloaded into an unmodified chronyd, so that it sets and slews this clock and no machine's.
 *
 *     shows(t) = shows0 + (t - t0) * (1 + drift + correction)          t: CLOCK_REALTIME, which stays untouched and is the truth
 *
 * What reads or adjusts CLOCK_REALTIME is answered from here, and the kernel's stamps of packets are turned into this clock's time, as if
 * the kernel had it. Every change is told in the file STEERED_STATE: t0, shows0 (ns), gain, times set, by how much (ns).
 * STEERED_AHEAD_NS: how far it is ahead when the program starts; STEERED_DRIFT: what its crystal gains.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ll
#define TICK 10000 /* USER_HZ 100 */

static struct { int64_t since, shows; double gain; int64_t steps, stepped; } state;
static double drift;
static long frequency, tick = TICK;
static int file = -1, status = STA_UNSYNC;

static int64_t truth(void)
{
    struct timespec t;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static void tell(void)
{
    if (file >= 0 && pwrite(file, &state, sizeof state, 0) != sizeof state)
        abort();
}

static void begin(void)
{
    if (state.since)
        return;
    const char *ahead = getenv("STEERED_AHEAD_NS"), *gains = getenv("STEERED_DRIFT"), *path = getenv("STEERED_STATE");
    drift = gains ? atof(gains) : 0;
    state.since = truth();
    state.shows = state.since + (ahead ? atoll(ahead) : 0);
    state.gain = drift;
    if (path)
        file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    tell();
}

static int64_t shown(int64_t t)
{
    begin();
    return state.shows + (t - state.since) + (int64_t)((double)(t - state.since) * state.gain);
}

static void change(int64_t jump)
{
    int64_t t = truth();
    state.shows = shown(t) + jump;
    state.since = t;
    state.gain = drift + (double)frequency / 65536e6 + (double)(tick - TICK) / TICK;
    state.steps += jump != 0;
    state.stepped += jump;
    tell();
}

int clock_gettime(clockid_t which, struct timespec *t)
{
    if (which != CLOCK_REALTIME && which != CLOCK_REALTIME_COARSE)
        return (int)syscall(SYS_clock_gettime, which, t);
    int64_t ns = shown(truth());
    *t = (struct timespec){ns / SECOND, ns % SECOND};
    return 0;
}

int gettimeofday(struct timeval *t, void *zone)
{
    (void)zone;
    int64_t ns = shown(truth());
    *t = (struct timeval){ns / SECOND, ns % SECOND / 1000};
    return 0;
}

time_t time(time_t *t)
{
    time_t s = shown(truth()) / SECOND;
    if (t)
        *t = s;
    return s;
}

int clock_settime(clockid_t which, const struct timespec *t)
{
    (void)which;
    change(t->tv_sec * SECOND + t->tv_nsec - shown(truth()));
    return 0;
}

int settimeofday(const struct timeval *t, const struct timezone *zone)
{
    (void)zone;
    change(t->tv_sec * SECOND + t->tv_usec * 1000ll - shown(truth()));
    return 0;
}

int adjtimex(struct timex *t)
{
    begin();
    if (t->modes & ADJ_STATUS)
        status = t->status;
    if (t->modes & ADJ_FREQUENCY)
        frequency = t->freq;
    if (t->modes & ADJ_TICK)
        tick = t->tick;
    if (t->modes & ADJ_SETOFFSET)
        change(t->time.tv_sec * SECOND + t->time.tv_usec * (t->modes & ADJ_NANO ? 1ll : 1000ll));
    else if (t->modes & (ADJ_FREQUENCY | ADJ_TICK))
        change(0);
    t->freq = frequency;
    t->tick = tick;
    t->status = status;
    t->tolerance = 500l << 16;
    t->precision = 1;
    t->offset = t->ppsfreq = t->jitter = t->stabil = 0;
    gettimeofday(&t->time, NULL);
    return status & STA_UNSYNC ? TIME_ERROR : TIME_OK;
}

int ntp_adjtime(struct timex *t) { return adjtimex(t); }

int clock_adjtime(clockid_t which, struct timex *t)
{
    (void)which;
    return adjtimex(t);
}

static void stamped(struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || (c->cmsg_type != SO_TIMESTAMPNS && c->cmsg_type != SO_TIMESTAMPING))
            continue;
        struct timespec *t = (struct timespec *)CMSG_DATA(c); /* of SO_TIMESTAMPING the first of three: software's */
        if (t->tv_sec || t->tv_nsec) {
            int64_t ns = shown(t->tv_sec * SECOND + t->tv_nsec);
            *t = (struct timespec){ns / SECOND, ns % SECOND};
        }
    }
}

ssize_t recvmsg(int s, struct msghdr *message, int flags)
{
    ssize_t got = syscall(SYS_recvmsg, s, message, flags);
    if (got >= 0)
        stamped(message);
    return got;
}

int recvmmsg(int s, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *wait)
{
    int got = (int)syscall(SYS_recvmmsg, s, messages, count, flags, wait);
    for (int i = 0; i < got; i++)
        stamped(&messages[i].msg_hdr);
    return got;
}
