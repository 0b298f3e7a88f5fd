#define _DEFAULT_SOURCE
#include "comm/transport.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MEETING_SECONDS = 60 };

/* Bytes on their way: `done` of them have been moved. */
typedef struct Message {
    char *at;
    size_t bytes, done;
} Message;

/* First come, first served. */
typedef struct Queue {
    Message *messages;
    size_t first, count, room;
} Queue;

typedef struct Peer {
    int fd; /* -1: this rank itself, or not yet met */
    Queue sends, receives;
} Peer;

typedef struct Sockets {
    size_t world;
    Peer *peers;
} Sockets;

/* --------------------------------------------------------------------------------------------------------------
 * Messages
 */

static int append(Queue *q, const void *x, size_t bytes, Error *e)
{
    if (q->first == q->count)
        q->first = q->count = 0;
    if (q->count == q->room) {
        const size_t room = 2 * q->room + 16;
        Message *more = realloc(q->messages, room * sizeof *more);
        if (more == NULL)
            return error_set(e, "out of memory for messages");
        q->messages = more;
        q->room = room;
    }
    q->messages[q->count++] = (Message){(char *)x, bytes, 0};
    return 0;
}

static int tcp_send(void *state, size_t peer, const void *x, size_t bytes, Error *e)
{
    return append(&((Sockets *)state)->peers[peer].sends, x, bytes, e);
}

static int tcp_receive(void *state, size_t peer, void *x, size_t bytes, Error *e)
{
    return append(&((Sockets *)state)->peers[peer].receives, x, bytes, e);
}

/* Moves what a queue's socket takes or has. -1: the connection is gone. */
static int move(int fd, Queue *q, bool sends, bool *moved, Error *e)
{
    while (q->first < q->count) {
        Message *m = &q->messages[q->first];
        while (m->done < m->bytes) {
            const ssize_t n = sends ? send(fd, m->at + m->done, m->bytes - m->done, MSG_NOSIGNAL)
                                    : recv(fd, m->at + m->done, m->bytes - m->done, 0);
            if (n > 0) {
                m->done += (size_t)n;
                *moved = true;
            } else if (n == 0)
                return error_set(e, "has closed its connection");
            else if (errno == EAGAIN || errno == EWOULDBLOCK)
                return 0;
            else if (errno != EINTR)
                return error_set(e, "cannot be reached: %s", strerror(errno));
        }
        q->first++;
    }
    return 0;
}

static bool pending(const Queue *q) { return q->first < q->count; }

static int tcp_progress(void *state, size_t *peer, Error *e)
{
    Sockets *s = state;
    bool moved = false, waits = false;
    for (size_t i = s->world; i-- > 0;) {
        Peer *p = &s->peers[i];
        if (move(p->fd, &p->receives, false, &moved, e) != 0 || move(p->fd, &p->sends, true, &moved, e) != 0) {
            *peer = i;
            return -1;
        }
        if (pending(&p->receives) || pending(&p->sends)) {
            *peer = i;
            waits = true;
        }
    }
    return !waits ? PROGRESS_DONE : moved ? PROGRESS_MOVED : PROGRESS_NONE;
}

/* Milliseconds since a peer's machine last acknowledged anything; machines that live answer probes, see unblock. */
static size_t silence(int fd)
{
#ifdef __linux__
    struct tcp_info info;
    socklen_t size = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0)
        return info.tcpi_last_ack_recv;
#endif
    (void)fd;
    return 0;
}

/* A rank that waits for a lost one is itself waited for, so not every silent rank is lost. */
static size_t tcp_most_silent(void *state, size_t peer)
{
    const Sockets *s = state;
    for (size_t i = 0; i < s->world; i++) {
        const Peer *p = &s->peers[i];
        if ((pending(&p->receives) || pending(&p->sends)) && silence(p->fd) > silence(s->peers[peer].fd))
            peer = i;
    }
    return peer;
}

static void tcp_close(void *state, bool orderly)
{
    Sockets *s = state;
    (void)orderly;
    for (size_t i = 0; i < s->world; i++) {
        if (s->peers[i].fd >= 0)
            close(s->peers[i].fd);
        free(s->peers[i].sends.messages);
        free(s->peers[i].receives.messages);
    }
    free(s->peers);
    free(s);
}

/* --------------------------------------------------------------------------------------------------------------
 * The meeting: rank 0 learns where each rank listens, tells all, and each calls those before it.
 */

/* The first bytes on every connection, from the caller. */
typedef struct Hello {
    char magic[8];
    uint32_t rank, world;
    struct sockaddr_storage listens; /* where the caller is to be found; its address as rank 0 sees it */
} Hello;

static const char magic[8] = "GPTRANK2";

/* Whether nobody is waited for any more. */
static bool is_over(double deadline) { return clock_seconds() > deadline || launch_is_broken(); }

/* Sends or receives exactly so many bytes before the deadline. */
static int transfer(int fd, void *x, size_t bytes, bool sends, double deadline)
{
    char *at = x;
    while (bytes > 0) {
        const ssize_t n = sends ? send(fd, at, bytes, MSG_NOSIGNAL) : recv(fd, at, bytes, 0);
        if (n > 0) {
            at += n;
            bytes -= (size_t)n;
        } else if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
            return -1;
        else if (is_over(deadline))
            return -1;
        else
            poll(&(struct pollfd){.fd = fd, .events = sends ? POLLOUT : POLLIN}, 1, 100);
    }
    return 0;
}

/* The kernel probes idle connections each second, for tcp_most_silent, and drops none: how long to wait for a rank is
 * for --comm-timeout to say. */
static void unblock(int fd)
{
    const int one = 1;
#ifdef __linux__
    const unsigned int most = INT_MAX; /* ms */
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &most, sizeof most);
#endif
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static int listen_at(const struct sockaddr *address, socklen_t length, struct sockaddr_storage *bound, Error *e)
{
    const int one = 1, fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof *bound;
    if (fd < 0)
        return error_set(e, "no socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, address, length) != 0 || listen(fd, 128) != 0 ||
        getsockname(fd, (struct sockaddr *)bound, &size) != 0) {
        error_set(e, "%s", strerror(errno));
        close(fd);
        return -1;
    }
    unblock(fd);
    return fd;
}

/* The next caller that says a proper hello as a rank above `rank`; strangers are hung up on. -1: nobody came before the
 * deadline. */
static int accept_rank(int listener, const Sockets *s, size_t rank, Hello *hello, double deadline)
{
    while (!is_over(deadline)) {
        poll(&(struct pollfd){.fd = listener, .events = POLLIN}, 1, 100);
        const int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        const double soon = clock_seconds() + 1;
        unblock(fd);
        if (transfer(fd, hello, sizeof *hello, false, soon < deadline ? soon : deadline) == 0 &&
            memcmp(hello->magic, magic, sizeof magic) == 0 && hello->world == s->world && hello->rank < s->world &&
            hello->rank > rank && s->peers[hello->rank].fd < 0)
            return fd;
        close(fd);
    }
    return -1;
}

/* Connects within a time: by itself the kernel would wait for minutes where packets vanish. */
static int reach(int fd, const struct sockaddr *address, socklen_t length, double deadline)
{
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    int status = 0;
    socklen_t size = sizeof status;
    unblock(fd);
    if (connect(fd, address, length) == 0)
        return 0;
    if (errno != EINPROGRESS && errno != EINTR)
        return -1;
    while (poll(&ready, 1, 100) <= 0)
        if (is_over(deadline))
            return -1;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &status, &size) == 0 && status == 0 ? 0 : -1;
}

static void rest(void) { nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL); }

static int call(const struct sockaddr *address, socklen_t length, const Hello *hello, double deadline)
{
    while (!is_over(deadline)) {
        const int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const double soon = clock_seconds() + 5;
        if (fd >= 0 && reach(fd, address, length, soon < deadline ? soon : deadline) == 0 &&
            transfer(fd, (void *)hello, sizeof *hello, true, deadline) == 0)
            return fd;
        if (fd >= 0)
            close(fd);
        rest(); /* rank 0 may start later */
    }
    return -1;
}

static socklen_t length_of(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

static in_port_t *port_of(struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET6 ? &((struct sockaddr_in6 *)address)->sin6_port
                                          : &((struct sockaddr_in *)address)->sin_port;
}

/* Where the others find rank 0: the first address of MASTER_ADDR's, port MASTER_PORT + 1. */
static int find_master(struct sockaddr_storage *master, char *name, size_t size, Error *e)
{
    const char *host = getenv("MASTER_ADDR"), *port = getenv("MASTER_PORT");
    struct addrinfo *found = NULL;
    char *end = NULL;
    const long number = port != NULL ? strtol(port, &end, 10) : 0;
    if (host == NULL || port == NULL || *port == '\0' || *end != '\0' || number < 1 || number > 65534)
        return error_set(e, "RANK and WORLD_SIZE are set in the environment, and MASTER_ADDR and MASTER_PORT, where "
                            "rank 0 is to be found, are not");
    snprintf(name, size, "%s:%ld (MASTER_PORT + 1)", host, number + 1);
    const int status = getaddrinfo(host, NULL, &(struct addrinfo){.ai_socktype = SOCK_STREAM}, &found);
    if (status != 0)
        return error_set(e, "MASTER_ADDR %s: %s", host, gai_strerror(status));
    memset(master, 0, sizeof *master);
    memcpy(master, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    *port_of(master) = htons((uint16_t)(number + 1));
    return 0;
}

/* Where a rank listens: at 127.0.0.1 or ::1, if rank 0's place is there, or else at all of its addresses, since on rank
 * 0's own machine its name may stand for one that others cannot reach: Debian's /etc/hosts has 127.0.1.1. */
static struct sockaddr_storage place_to_listen(struct sockaddr_storage place)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&place;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&place;
    if (place.ss_family == AF_INET6 && !IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr))
        in6->sin6_addr = in6addr_any;
    if (place.ss_family == AF_INET && in->sin_addr.s_addr != htonl(INADDR_LOOPBACK))
        in->sin_addr.s_addr = htonl(INADDR_ANY);
    return place;
}

static int held = -1; /* rank 0's listener, where this process opened it for those that it starts */

int transport_hold_place(Error *e)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_storage bound;
    Error why;
    char port[8];
    held = listen_at((const struct sockaddr *)&here, sizeof here, &bound, &why);
    if (held < 0)
        return error_set(e, "ranks cannot meet on this machine: %s", why.text);
    snprintf(port, sizeof port, "%d", ntohs(*port_of(&bound)) - 1);
    return setenv("MASTER_ADDR", "127.0.0.1", 1) == 0 && setenv("MASTER_PORT", port, 1) == 0
               ? 0
               : error_set(e, "out of memory");
}

/* Rank 0: meets all, and tells each where the others listen. */
static int meet_as_first(Sockets *s, const struct sockaddr_storage *master, const char *name,
                         struct sockaddr_storage *places, double deadline, Error *e)
{
    const struct sockaddr_storage here = place_to_listen(*master);
    struct sockaddr_storage bound;
    Error why;
    const int listener = held >= 0 ? held : listen_at((const struct sockaddr *)&here, length_of(&here), &bound, &why);
    if (listener < 0)
        return error_set(e, "rank 0 cannot listen at %s: %s", name, why.text);
    size_t came = 1;
    for (Hello hello; came < s->world; came++) {
        const int fd = accept_rank(listener, s, 0, &hello, deadline);
        if (fd < 0)
            break;
        struct sockaddr_storage *place = &places[hello.rank];
        socklen_t size = sizeof *place;
        getpeername(fd, (struct sockaddr *)place, &size);
        *port_of(place) = *port_of(&hello.listens);
        s->peers[hello.rank].fd = fd;
    }
    close(listener);
    held = -1;
    for (size_t i = 1; i < s->world && came == s->world; i++)
        if (transfer(s->peers[i].fd, (void *)magic, sizeof magic, true, deadline) != 0 ||
            transfer(s->peers[i].fd, places, s->world * sizeof *places, true, deadline) != 0)
            came = 0;
    if (came < s->world && launch_is_broken())
        return error_set(e, "a rank ended before it met the others");
    return came == s->world ? 0
                            : error_set(e, "only %zu of %zu ranks came to %s within %d seconds", came, s->world, name,
                                        MEETING_SECONDS);
}

/* Calls rank 0 until it answers as one, with where each rank listens: another program may have its port for a while. */
static int ask_first(const Sockets *s, const struct sockaddr_storage *master, const Hello *hello,
                     struct sockaddr_storage *places, double deadline)
{
    for (;;) {
        char said[sizeof magic];
        const int fd = call((const struct sockaddr *)master, length_of(master), hello, deadline);
        if (fd < 0 ||
            (transfer(fd, said, sizeof said, false, deadline) == 0 && memcmp(said, magic, sizeof magic) == 0 &&
             transfer(fd, places, s->world * sizeof *places, false, deadline) == 0))
            return fd;
        close(fd);
        rest();
    }
}

static int meet_as_other(Sockets *s, size_t rank, const struct sockaddr_storage *master, const char *name,
                         struct sockaddr_storage *places, double deadline, Error *e)
{
    struct sockaddr_storage here = place_to_listen(*master);
    Hello hello = {.rank = (uint32_t)rank, .world = (uint32_t)s->world};
    memcpy(hello.magic, magic, sizeof magic);
    *port_of(&here) = 0;
    const int listener = listen_at((const struct sockaddr *)&here, length_of(&here), &hello.listens, e);
    if (listener < 0)
        return -1;
    s->peers[0].fd = ask_first(s, master, &hello, places, deadline);
    bool met = s->peers[0].fd >= 0;
    for (size_t i = 1; i < rank && met; i++) {
        s->peers[i].fd = call((const struct sockaddr *)&places[i], length_of(&places[i]), &hello, deadline);
        met = s->peers[i].fd >= 0;
    }
    for (size_t i = rank + 1; i < s->world && met; i++) {
        Hello other;
        const int fd = accept_rank(listener, s, rank, &other, deadline);
        met = fd >= 0;
        if (met)
            s->peers[other.rank].fd = fd;
    }
    close(listener);
    if (!met && launch_is_broken())
        return error_set(e, "rank 0 ended before it met the others");
    return met ? 0
               : error_set(e, "rank %zu of %zu did not meet the others at %s within %d seconds", rank, s->world, name,
                           MEETING_SECONDS);
}

int transport_open_tcp(const Launch *launch, Transport *out, Error *e)
{
    const size_t world = launch->ranks.world, rank = launch->ranks.rank;
    const double deadline = clock_seconds() + MEETING_SECONDS;
    struct sockaddr_storage master, *places = calloc(world, sizeof *places);
    char name[300];
    Sockets *s = calloc(1, sizeof *s);
    Peer *peers = calloc(world, sizeof *peers);
    if (places == NULL || s == NULL || peers == NULL) {
        free(places);
        free(s);
        free(peers);
        return error_set(e, "out of memory for %zu ranks", world);
    }
    *s = (Sockets){world, peers};
    if (rank > 0 && held >= 0) { /* the parent's, which is rank 0 */
        close(held);
        held = -1;
    }
    for (size_t i = 0; i < world; i++)
        peers[i].fd = -1;
    int status = find_master(&master, name, sizeof name, e);
    if (status == 0)
        status = rank == 0 ? meet_as_first(s, &master, name, places, deadline, e)
                           : meet_as_other(s, rank, &master, name, places, deadline, e);
    free(places);
    if (status != 0) {
        tcp_close(s, false);
        return -1;
    }
    *out = (Transport){s, tcp_send, tcp_receive, tcp_progress, tcp_most_silent, tcp_close};
    return 0;
}
