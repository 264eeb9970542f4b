/* Holds the kernel's capture rings from the first second of a start until the recorder comes for them.
 *
 *   ringhold eth1[,eth2]
 *
 * Why C, and static: it runs in the initramfs before there is a Python, an ld.so or a systemd. It never reads a ring; the kernel
 * fills it meanwhile, and at the default geometry keeps 6.4 s of a quiet room and half a second of a saturated Gbit/s.
 * The recorder connects to the abstract socket "scrubjay-ring", names an interface, and gets one datagram
 * "<block bytes> <block count> <retire ms>" with that ring's descriptor (SCM_RIGHTS); having answered with one byte it owns it. With
 * the last ring this process ends. Only root and the recorder's user are answered: a ring shows every frame of the room.
 * drivers/linux/early_ring.py is the other side.
 * Same socket options as drivers/linux/tap.py, in the same order, for the same reasons.
 * The interface is made unable to speak before it is brought up: no IPv6 (router solicitations), no ARP.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <arpa/inet.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef RECORDER_UID
#error "say which user the recorder is on this image: -DRECORDER_UID=..."
#endif
#define BLOCK_BYTES (1u << 20) /* as the recorder's own defaults, firmware/capture/settings.py */
#define BLOCK_COUNT 64u
#define RETIRE_MS 100u
#define FRAME_BYTES 2048u
#define RINGS_MAX 2 /* a passive tap has an interface for each direction */
#define WAIT_TRIES 2000 /* times 5 ms: drivers were loaded just now, the slowest card answers in some seconds */

static const char NAME[] = "scrubjay-ring";

static void say(const char *what, const char *about)
{
    int console = open("/dev/console", O_WRONLY | O_NOCTTY);
    if (console >= 0) {
        dprintf(console, "scrubjay: %s %s\n", what, about);
        close(console);
    }
}

static void no_ipv6(const char *interface)
{
    char path[96];
    snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/disable_ipv6", interface);
    int file = open(path, O_WRONLY);
    if (file >= 0) { /* absent: a kernel without IPv6 */
        if (write(file, "1", 1) != 1)
            say("IPv6 stays on on", interface);
        close(file);
    }
}

/* A ring that hears, or -1. */
static int heard(const char *interface)
{
    struct ifreq request = {0};
    if (strlen(interface) >= sizeof request.ifr_name)
        return -1;
    strcpy(request.ifr_name, interface);
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), tries = 0;
    while (ioctl(control, SIOCGIFFLAGS, &request) && tries++ < WAIT_TRIES)
        usleep(5000);
    if (tries > WAIT_TRIES)
        return -1;
    int ring = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), version = TPACKET_V3, on = 1;
    struct tpacket_req3 geometry = {
        .tp_block_size = BLOCK_BYTES, .tp_block_nr = BLOCK_COUNT, .tp_frame_size = FRAME_BYTES,
        .tp_frame_nr = BLOCK_BYTES / FRAME_BYTES * BLOCK_COUNT, .tp_retire_blk_tov = RETIRE_MS,
    };
    struct packet_mreq promiscuous = {.mr_ifindex = (int)if_nametoindex(interface), .mr_type = PACKET_MR_PROMISC};
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = promiscuous.mr_ifindex,
    };
    if (ring < 0 || setsockopt(ring, SOL_PACKET, PACKET_VERSION, &version, sizeof version) ||
        setsockopt(ring, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) ||
        setsockopt(ring, SOL_PACKET, PACKET_RX_RING, &geometry, sizeof geometry) ||
        setsockopt(ring, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) ||
        setsockopt(ring, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof promiscuous) ||
        bind(ring, (struct sockaddr *)&address, sizeof address))
        return -1;
    no_ipv6(interface);
    request.ifr_flags |= IFF_UP | IFF_NOARP;
    if (ioctl(control, SIOCSIFFLAGS, &request))
        return -1;
    /* Bound while the interface was down, the socket has ENETDOWN waiting; whoever reads the ring would take it for a loss of now. */
    int stale;
    socklen_t size = sizeof stale;
    getsockopt(ring, SOL_SOCKET, SO_ERROR, &stale, &size);
    close(control);
    return ring;
}

static int sent(int to, int ring)
{
    char text[64], control[CMSG_SPACE(sizeof ring)] = {0};
    int size = snprintf(text, sizeof text, "%u %u %u", BLOCK_BYTES, BLOCK_COUNT, RETIRE_MS);
    struct iovec part = {text, (size_t)size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof ring);
    memcpy(CMSG_DATA(header), &ring, sizeof ring);
    return sendmsg(to, &message, MSG_NOSIGNAL) == size;
}

/* Whether this visitor now owns a ring, which is closed here then. One who dies with it in his hands has not answered: it stays ours. */
static int served(int visitor, const char **interfaces, int *rings, int held)
{
    char name[IFNAMSIZ + 1] = "", answer;
    struct ucred who = {0};
    socklen_t size = sizeof who;
    struct timeval patience = {.tv_sec = 5};
    if (getsockopt(visitor, SOL_SOCKET, SO_PEERCRED, &who, &size) || (who.uid != 0 && who.uid != RECORDER_UID) ||
        setsockopt(visitor, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) || read(visitor, name, IFNAMSIZ) <= 0)
        return 0;
    for (int i = 0; i < held; i++)
        if (rings[i] >= 0 && strcmp(interfaces[i], name) == 0 && sent(visitor, rings[i]) && read(visitor, &answer, 1) == 1) {
            close(rings[i]);
            rings[i] = -1;
            return 1;
        }
    return 0;
}

int main(int count, char **arguments)
{
    const char *interfaces[RINGS_MAX];
    int rings[RINGS_MAX], held = 0;
    if (count != 2) {
        say("ringhold expects interfaces, separated by commas", "");
        return 2;
    }
    for (char *name = strtok(arguments[1], ","); name && held < RINGS_MAX; name = strtok(NULL, ",")) {
        rings[held] = heard(name);
        if (rings[held] < 0)
            say("cannot hear", name);
        else
            interfaces[held++] = name;
    }
    if (!held)
        return 1;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path + 1, NAME, sizeof NAME - 1);
    int door = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (bind(door, (struct sockaddr *)&address, offsetof(struct sockaddr_un, sun_path) + sizeof NAME) || listen(door, 4))
        return 1;
    char uptime[32] = "";
    int file = open("/proc/uptime", O_RDONLY | O_CLOEXEC);
    if (file >= 0 && read(file, uptime, sizeof uptime - 1) > 0)
        uptime[strcspn(uptime, " ")] = 0;
    say("hearing from the first; seconds since the kernel started:", uptime);
    if (fork())
        return 0;
    setsid();
    for (int left = held; left > 0;) {
        int visitor = accept4(door, NULL, NULL, SOCK_CLOEXEC);
        if (visitor < 0)
            continue;
        left -= served(visitor, interfaces, rings, held);
        close(visitor);
    }
    return 0;
}
