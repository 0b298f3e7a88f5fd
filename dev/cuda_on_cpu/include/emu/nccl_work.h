#ifndef EMU_NCCL_WORK_H
#define EMU_NCCL_WORK_H

#include "nccl_room.h"

/*
 * The calls of a group as messages, all of which move together: each rank sends every other what the call says, and
 * reductions are added up by whoever needs the sum. Every message begins with the call that sent it, so that ranks
 * whose calls do not match are told. A message is sent when it has been received: without a group, two ranks that both
 * send first wait for each other as they may on GPUs.
 */

namespace emu::nccl {

struct Request {
    Call call;
    ncclComm *comm;
    cudaStream_t stream;
    const char *send; /* or nullptr */
    char *recv;
    size_t count;
    ncclDataType_t type;
    int peer; /* of a send or receive; the root of a broadcast; otherwise 0 */
};

inline bool is_collective(const Request &q) { return q.call >= ALL_GATHER; }
inline bool is_sum(const Request &q) { return q.call == REDUCE_SCATTER || q.call == ALL_REDUCE; }

inline size_t size_of(ncclDataType_t type)
{
    switch (type) {
    case ncclInt8:
    case ncclUint8:
        return 1;
    case ncclBfloat16:
        return 2;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32:
        return 4;
    case ncclInt64:
    case ncclUint64:
    case ncclFloat64:
        return 8;
    }
    return 0;
}
inline const char *type_name(int type)
{
    constexpr const char *names[] = {"ncclInt8",   "ncclUint8", "ncclInt32",   "ncclUint32",  "ncclInt64",
                                     "ncclUint64", "",          "ncclFloat32", "ncclFloat64", "ncclBfloat16"};
    return names[type];
}
inline size_t bytes_of(const Request &q) { return q.count * size_of(q.type); }

/* The call as its messages bring it along. A receive expects that of the send. */
struct Header {
    int32_t call, type, root, unused;
    uint64_t count;
};
inline Header header_of(const Request &q)
{
    return {q.call == RECV ? SEND : q.call, q.type, q.call == BROADCAST ? q.peer : 0, 0, q.count};
}
inline std::string describe(const Header &h)
{
    const std::string root = h.call == BROADCAST ? sentence(" from rank %d", h.root) : "";
    return sentence("%s of %llu %s%s", call_names[h.call], static_cast<unsigned long long>(h.count), type_name(h.type),
                    root.c_str());
}

inline std::string describe(const Request &q)
{
    Header h = header_of(q);
    h.call = q.call;
    return describe(h);
}

struct Message {
    const Request *request;
    Header header;
    char *bytes;
    size_t size, moved = 0; /* moved counts the header too */
};

/* The messages of the work between this rank and another in one direction, one after the other. */
struct Line {
    ncclComm *comm;
    int peer;
    bool out;
    std::deque<Message> messages = {}; /* those that have not moved wholly */

    Pipe &pipe() const { return out ? comm->pipe(comm->rank, peer) : comm->pipe(peer, comm->rank); }
    bool done() const { return messages.empty() && (!out || pipe().read.load() == pipe().written.load()); }
};

/* Copies n bytes to or from position `at` of the pipe, around its end. */
inline void copy_ring(Pipe &pipe, uint64_t at, char *bytes, size_t n, bool in)
{
    while (n > 0) {
        const size_t place = at % PIPE_BYTES, part = std::min(n, PIPE_BYTES - place);
        memcpy(in ? pipe.ring + place : bytes, in ? bytes : pipe.ring + place, part);
        at += part;
        bytes += part;
        n -= part;
    }
}

/* Moves what the pipe has room for. */
inline bool send_some(Line &line)
{
    Pipe &pipe = line.pipe();
    uint64_t written = pipe.written.load();
    const uint64_t before = written;
    while (!line.messages.empty()) {
        Message &m = line.messages.front();
        const bool in_header = m.moved < sizeof(Header);
        char *from = in_header ? reinterpret_cast<char *>(&m.header) + m.moved : m.bytes + (m.moved - sizeof(Header));
        const size_t left = (in_header ? sizeof(Header) : sizeof(Header) + m.size) - m.moved;
        const size_t n = std::min(left, PIPE_BYTES - static_cast<size_t>(written - pipe.read.load()));
        if (left > 0 && n == 0)
            break;
        copy_ring(pipe, written, from, n, true);
        written += n;
        m.moved += n;
        if (m.moved == sizeof(Header) + m.size)
            line.messages.pop_front();
    }
    pipe.written.store(written);
    return written > before;
}

inline void check_header(const Line &line, const Message &m, const Header &got)
{
    if (memcmp(&got, &m.header, sizeof got) == 0)
        return;
    const ncclComm &c = *line.comm;
    const bool to_me = got.call == SEND, from_peer = m.request->call == RECV;
    fail_all(c, sentence("calls that do not match: rank %d calls %s%s, rank %d %s%s", line.peer, describe(got).c_str(),
                         to_me ? sentence(" to rank %d", c.rank).c_str() : "", c.rank, describe(*m.request).c_str(),
                         from_peer ? sentence(" from rank %d", line.peer).c_str() : ""));
}

/* Moves what the pipe holds. */
inline bool receive_some(Line &line)
{
    Pipe &pipe = line.pipe();
    uint64_t read = pipe.read.load();
    const uint64_t before = read, written = pipe.written.load();
    while (!line.messages.empty()) {
        Message &m = line.messages.front();
        if (m.moved == 0) {
            Header got;
            if (written - read < sizeof got)
                break;
            copy_ring(pipe, read, reinterpret_cast<char *>(&got), sizeof got, false);
            check_header(line, m, got);
            read += sizeof got;
            m.moved = sizeof got;
        }
        const size_t left = sizeof(Header) + m.size - m.moved;
        const size_t n = std::min(left, static_cast<size_t>(written - read));
        copy_ring(pipe, read, m.bytes + (m.moved - sizeof(Header)), n, false);
        read += n;
        m.moved += n;
        if (n < left)
            break;
        line.messages.pop_front();
    }
    pipe.read.store(read);
    return read > before;
}

/* ---- sums ---- */

constexpr size_t SUM_BLOCK = 256; /* elements whose contributions are added in one order */

/*
 * The order of the ranks in a sum. NCCL promises none; here it is the same at every rank, since with NCCL all ranks
 * get the same bits from an all-reduce. At random it differs from sum to sum, part to part and block to block.
 */
inline std::vector<int> order_of_ranks(const ncclComm &c, uint64_t sum, uint64_t part, uint64_t block)
{
    std::vector<int> order(static_cast<size_t>(c.ranks));
    for (int r = 0; r < c.ranks; r++)
        order[static_cast<size_t>(r)] = c.room->order == REVERSE ? c.ranks - 1 - r : r;
    if (c.room->order != RANDOM)
        return order;
    uint64_t x = c.room->seed;
    for (const uint64_t key : {sum, part, block}) { /* Vigna's splitmix64 */
        x += key + 0x9E3779B97F4A7C15ull;
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ull;
        x = (x ^ x >> 27) * 0x94D049BB133111EBull;
        x ^= x >> 31;
    }
    for (size_t n = order.size(); n > 1; n--, x /= n) /* Fisher and Yates */
        std::swap(order[n - 1], order[x % n]);
    return order;
}

/* Rounds after every addition, as ranks that pass partial sums on do. Integers wrap around. */
template <class T> inline void add_up(const ncclComm &c, const Request &q, const std::vector<const char *> &from)
{
    T *out = reinterpret_cast<T *>(q.recv);
    const uint64_t part = q.call == REDUCE_SCATTER ? static_cast<uint64_t>(c.rank) : 0;
    for (size_t block = 0; block * SUM_BLOCK < q.count; block++) {
        const std::vector<int> order = order_of_ranks(c, c.sums, part, block);
        for (size_t i = block * SUM_BLOCK; i < std::min(q.count, (block + 1) * SUM_BLOCK); i++) {
            T sum = reinterpret_cast<const T *>(from[static_cast<size_t>(order[0])])[i];
            for (size_t k = 1; k < order.size(); k++)
                sum = static_cast<T>(sum + reinterpret_cast<const T *>(from[static_cast<size_t>(order[k])])[i]);
            out[i] = sum;
        }
    }
}

inline void add_up_as(const ncclComm &c, const Request &q, const std::vector<const char *> &from)
{
    switch (q.type) {
    case ncclInt8:
    case ncclUint8:
        return add_up<uint8_t>(c, q, from);
    case ncclInt32:
    case ncclUint32:
        return add_up<uint32_t>(c, q, from);
    case ncclInt64:
    case ncclUint64:
        return add_up<uint64_t>(c, q, from);
    case ncclFloat32:
        return add_up<float>(c, q, from);
    case ncclFloat64:
        return add_up<double>(c, q, from);
    case ncclBfloat16:
        return add_up<__nv_bfloat16>(c, q, from);
    }
}

/* ---- the work: the calls of a group ---- */

class Transfer {
    const std::vector<Request> &requests;
    std::vector<Line> lines;
    std::vector<std::vector<char>> staged; /* of each request: by rank, what the others contribute to its sum */
    Wait wait;

    Line &line(ncclComm *comm, int peer, bool out)
    {
        for (Line &l : lines)
            if (l.comm == comm && l.peer == peer && l.out == out)
                return l;
        return lines.emplace_back(Line{comm, peer, out});
    }
    void move(const Request &q, int peer, bool out, const char *bytes, size_t size)
    {
        line(q.comm, peer, out).messages.push_back({&q, header_of(q), const_cast<char *>(bytes), size});
    }

    /* With every other rank: what this one sends it, and where what it sends goes. */
    void exchange(const Request &q, std::vector<char> &stage)
    {
        const int me = q.comm->rank;
        const size_t n = bytes_of(q);
        if (is_sum(q))
            stage.resize(n * static_cast<size_t>(q.comm->ranks));
        for (int r = 0; r < q.comm->ranks; r++) {
            const size_t at = n * static_cast<size_t>(r);
            if (r == me)
                continue;
            if (q.call == BROADCAST) {
                move(q, r, true, q.send, me == q.peer ? n : 0);
                move(q, r, false, q.recv, r == q.peer ? n : 0);
            } else {
                move(q, r, true, q.call == REDUCE_SCATTER ? q.send + at : q.send, n);
                move(q, r, false, (is_sum(q) ? stage.data() : q.recv) + at, n);
            }
        }
    }

    void finish(const Request &q, const std::vector<char> &stage)
    {
        const int me = q.comm->rank;
        const size_t n = bytes_of(q), at = n * static_cast<size_t>(me);
        if (q.call == ALL_GATHER && n > 0)
            memmove(q.recv + at, q.send, n);
        if (q.call == BROADCAST && me == q.peer && n > 0)
            memmove(q.recv, q.send, n);
        if (!is_sum(q))
            return;
        std::vector<const char *> from;
        for (int r = 0; r < q.comm->ranks; r++)
            from.push_back(stage.data() + n * static_cast<size_t>(r));
        from[static_cast<size_t>(me)] = q.call == REDUCE_SCATTER ? q.send + at : q.send;
        add_up_as(*q.comm, q, from);
        q.comm->sums++;
    }

    /* Ends the work without its results: what it was to receive is garbage. */
    void give_up()
    {
        for (const Request &q : requests) {
            if (q.comm->error == ncclSuccess)
                q.comm->error = ncclRemoteError;
            if (q.recv)
                memset(q.recv, GARBAGE, bytes_of(q) * (q.call == ALL_GATHER ? static_cast<size_t>(q.comm->ranks) : 1));
        }
    }

    const Request &pending(const Line &l) const
    {
        for (const Request &q : requests)
            if (l.messages.empty() && q.comm == l.comm && (is_collective(q) || (q.call == SEND && q.peer == l.peer)))
                return q;
        return *l.messages.front().request;
    }

    /* The peer of the line will not come any more. */
    void give_up_on(const Line &l)
    {
        const Request &q = pending(l);
        const ncclComm &c = *l.comm;
        const Member &m = c.member(l.peer);
        check_fault(c);
        if (m.state.load() == LEAVING)
            fail_all(c, sentence("rank %d waits in %s for rank %d, which has finalized the communicator", c.rank,
                                 describe(q).c_str(), l.peer));
        last_error = sentence("rank %d of %d has %s, and rank %d waits for it in %s", l.peer, c.ranks,
                              m.state.load() == ABORTED ? "called ncclCommAbort" : "ended", c.rank, call_names[q.call]);
        give_up();
    }

    bool step()
    {
        bool moved = false;
        for (Line &l : lines)
            moved |= l.out ? send_some(l) : receive_some(l);
        return moved;
    }

    static bool is_lost(const Line &l)
    {
        const Member &m = l.comm->member(l.peer);
        return l.peer != l.comm->rank && (m.state.load() != JOINED || has_ended(m));
    }

  public:
    explicit Transfer(const std::vector<Request> &calls) : requests(calls), staged(calls.size())
    {
        for (size_t i = 0; i < calls.size(); i++)
            if (is_collective(calls[i]))
                exchange(calls[i], staged[i]);
            else
                move(calls[i], calls[i].peer, calls[i].call == SEND,
                     calls[i].call == SEND ? calls[i].send : calls[i].recv, bytes_of(calls[i]));
    }

    void run()
    {
        for (const Request &q : requests)
            if (q.comm->error != ncclSuccess || q.comm->ended_by)
                return give_up();
        bool suspected = false; /* what was lost has been asked once more for what it may have left in the pipe */
        for (;;) {
            const bool moved = step();
            const auto line = std::find_if(lines.begin(), lines.end(), [](const Line &l) { return !l.done(); });
            if (line == lines.end())
                break;
            if (moved) {
                wait.restart(*line->comm);
                suspected = false;
                continue;
            }
            if (suspected) {
                const auto lost =
                    std::find_if(lines.begin(), lines.end(), [](const Line &l) { return !l.done() && is_lost(l); });
                if (lost != lines.end())
                    return give_up_on(*lost);
            }
            const Request &q = pending(*line);
            const bool due = wait.turn(*line->comm, line->peer, q.call, describe(q));
            suspected =
                due && std::any_of(lines.begin(), lines.end(), [](const Line &l) { return !l.done() && is_lost(l); });
        }
        for (size_t i = 0; i < requests.size(); i++) {
            wait.restart(*requests[i].comm);
            finish(requests[i], staged[i]);
        }
    }
};

} // namespace emu::nccl

#endif
