/* The client: opens event streams and reads them, fast enough not to be what is measured.
 *
 * Every event carries its number "n" and the time "t" at which it was due (CLOCK_MONOTONIC, ns).
 * A stream's events must be numbered without a gap, in steps of STEP: the number of users among whom
 * they go round. Other events (sse.open, ping) are only counted.
 *
 * Usage: client HOST PORT
 * Commands, each answered by one line with "done": true:
 *   open COUNT WINDOW TARGET     opens COUNT streams, WINDOW at once; {} in TARGET is the number
 *   expect FIRST LAST TIMEOUT_S STEP
 *                                reads until every open stream had its last event up to LAST; counts
 *                                from FIRST; prints {"deliveries": N} now and then
 *   close                        closes every stream */
#include "bench.h"

#include <sys/epoll.h>

#define READ_BYTES (256 * 1024)
#define EVENTS_PER_WAIT 512
#define PROGRESS_NS 500000000
#define OPEN_TIMEOUT_NS 30000000000

/* Latency in ns, as counts of log-linear buckets: 1024 to each power of two, so 0.1 % wide. */
#define BUCKET_BITS 10
#define BUCKETS ((64 - BUCKET_BITS + 1) << BUCKET_BITS)

struct stream {
    int fd;          /* -1 when closed */
    bool open;       /* its response head is complete */
    long next;       /* the number its next event must have; -1 before the first one */
    size_t kept;     /* bytes of an unfinished head or frame */
    size_t capacity; /* of what they are kept in */
    char *keeping;
};

static struct sockaddr_in address;
static struct stream *streams;
static int stream_count, alive, opened, failed, ended_by_server;
static int poller;

/* One measurement, from "expect" to its answer. */
static struct {
    long first, last, step;
    int complete; /* streams that had their last event */
    long deliveries, other, gaps;
    uint64_t bytes;
    int64_t first_ns, last_ns;
} seen;
static uint64_t latency[BUCKETS];

static int bucket_of(uint64_t ns) {
    if (ns < 1 << BUCKET_BITS)
        return ns;
    int shift = 63 - __builtin_clzll(ns) - BUCKET_BITS;
    return ((shift + 1) << BUCKET_BITS) + (int)((ns >> shift) - (1 << BUCKET_BITS));
}

/* The middle of a bucket. */
static uint64_t value_of(int bucket) {
    int shift = (bucket >> BUCKET_BITS) - 1;
    if (shift < 0)
        return bucket;
    uint64_t low = ((uint64_t)((bucket & ((1 << BUCKET_BITS) - 1)) | 1 << BUCKET_BITS)) << shift;
    return low + (UINT64_C(1) << shift) / 2;
}

static void take_event(struct stream *stream, int64_t t, long n, size_t length, int64_t read_ns) {
    if (stream->next >= 0 && n != stream->next)
        seen.gaps++;
    stream->next = n + seen.step;
    if (n < seen.first || n > seen.last)
        return;
    seen.deliveries++;
    seen.bytes += length;
    seen.first_ns = seen.first_ns ? seen.first_ns : read_ns;
    seen.last_ns = read_ns;
    seen.complete += n > seen.last - seen.step;
    latency[bucket_of(read_ns > t ? read_ns - t : 0)]++;
}

static const char *skip_number(const char *at, const char *end, int64_t *number) {
    for (*number = 0; at < end && *at >= '0' && *at <= '9'; at++)
        *number = *number * 10 + (*at - '0');
    return at;
}

/* One frame, without the two newlines at its end. Its numbers are looked for by hand, as memmem() and strtoll()
 * would take two thirds of the client's time; "n" follows "t" at once, as it was written. */
static void take_frame(struct stream *stream, const char *frame, size_t length, int64_t read_ns) {
    const char *at = frame, *end = frame + length;
    int64_t t, n;
    while (at + 4 <= end && memcmp(at, "\"t\":", 4) != 0)
        at++;
    at = skip_number(at + 4, end, &t);
    if (at + 5 > end || memcmp(at, ",\"n\":", 5) != 0) {
        seen.other++;
        return;
    }
    skip_number(at + 5, end, &n);
    take_event(stream, t, n, length + 2, read_ns);
}

/* Takes what is complete in `bytes`; returns how many bytes that were. */
static size_t take(struct stream *stream, const char *bytes, size_t length, int64_t read_ns) {
    const char *at = bytes, *end = bytes + length, *newline;
    if (!stream->open) {
        const char *head_end = memmem(bytes, length, "\r\n\r\n", 4);
        if (!head_end)
            return 0;
        if (!memmem(bytes, head_end - bytes, " 200 ", 5) || memcmp(bytes, "HTTP/1.1", 8) != 0) {
            fprintf(stderr, "no event stream: %.*s\n", (int)(head_end - bytes), bytes);
            exit(1);
        }
        stream->open = true;
        opened++;
        at = head_end + 4;
    }
    for (const char *search = at; (newline = memchr(search, '\n', end - search));) {
        search = newline + 1;
        if (search < end && *search == '\n') {
            take_frame(stream, at, newline - at, read_ns);
            at = ++search;
        }
    }
    return at - bytes;
}

static void close_stream(struct stream *stream) {
    close(stream->fd);
    free(stream->keeping);
    *stream = (struct stream){.fd = -1};
    alive--;
}

static void keep(struct stream *stream, const char *rest, size_t length) {
    if (length > stream->capacity) {
        stream->capacity = length * 2;
        free(stream->keeping);
        if (!(stream->keeping = malloc(stream->capacity)))
            fail("malloc");
    }
    stream->kept = length;
    memcpy(stream->keeping, rest, length);
}

static void read_stream(struct stream *stream) {
    static char *bytes;
    static size_t capacity;
    if (capacity < stream->kept + READ_BYTES) {
        capacity = stream->kept + READ_BYTES;
        free(bytes);
        if (!(bytes = malloc(capacity)))
            fail("malloc");
    }
    ssize_t got = recv(stream->fd, bytes + stream->kept, READ_BYTES, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        if (stream->open)
            ended_by_server++;
        else
            failed++;
        close_stream(stream);
        return;
    }
    if (stream->kept)
        memcpy(bytes, stream->keeping, stream->kept);
    size_t length = stream->kept + got;
    size_t taken = take(stream, bytes, length, now_ns());
    if (taken < length)
        keep(stream, bytes + taken, length - taken);
    else
        stream->kept = 0;
}

static void start_stream(int number, const char *target) {
    char request[2048];
    struct stream *stream = &streams[number];
    const char *gap = strstr(target, "{}");
    int before = gap ? gap - target : (int)strlen(target);
    char digits[16] = "";
    if (gap)
        snprintf(digits, sizeof digits, "%d", number);
    int length = snprintf(request, sizeof request,
                          "GET %.*s%s%s HTTP/1.1\r\nHost: localhost\r\n"
                          "Accept: text/event-stream\r\nCache-Control: no-cache\r\n\r\n",
                          before, target, digits, gap ? gap + 2 : "");
    *stream = (struct stream){.fd = socket(AF_INET, SOCK_STREAM, 0), .next = -1};
    /* On loopback connect() is done at once, or waits for room in the listener's queue. */
    if (stream->fd < 0 ||
        connect(stream->fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("connect");
    alive++;
    if (send(stream->fd, request, length, MSG_NOSIGNAL) != length)
        fail("send");
    struct epoll_event interest = {.events = EPOLLIN, .data.u32 = number};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, stream->fd, &interest) < 0)
        fail("epoll_ctl");
}

/* Reads what has come; waits for it at most until `deadline_ns`. */
static void read_ready(int64_t deadline_ns) {
    struct epoll_event ready[EVENTS_PER_WAIT];
    int64_t left_ns = deadline_ns - now_ns();
    int count = epoll_wait(poller, ready, EVENTS_PER_WAIT, left_ns > 0 ? left_ns / 1000000 + 1 : 0);
    for (int i = 0; i < count; i++) {
        struct stream *stream = &streams[ready[i].data.u32];
        if (stream->fd >= 0)
            read_stream(stream);
    }
}

static void open_streams(int count, int window, const char *target) {
    int64_t start_ns = now_ns(), deadline_ns = start_ns + OPEN_TIMEOUT_NS;
    struct cpu before = cpu_now();
    if (stream_count)
        fail("close the streams first");
    if (!(streams = calloc(count, sizeof *streams)))
        fail("calloc");
    opened = failed = ended_by_server = 0;
    while (opened + failed < count && now_ns() < deadline_ns) {
        while (stream_count < count && stream_count - opened - failed < window)
            start_stream(stream_count++, target);
        read_ready(deadline_ns);
    }
    struct cpu after = cpu_now();
    printf("{\"done\": true, \"opened\": %d, \"failed\": %d, \"seconds\": %.6f, \"cpu_s\": %.6f}\n",
           opened, count - opened, (now_ns() - start_ns) / 1e9,
           after.user_s + after.system_s - before.user_s - before.system_s);
}

static void print_latency(void) {
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

static void expect(long first, long last, double timeout_s, long step) {
    int64_t start_ns = now_ns(), deadline_ns = start_ns + (int64_t)(timeout_s * 1e9);
    int64_t progress_ns = start_ns + PROGRESS_NS;
    struct cpu before = cpu_now();
    memset(&seen, 0, sizeof seen);
    memset(latency, 0, sizeof latency);
    seen.first = first;
    seen.last = last;
    seen.step = step;
    while (seen.complete < alive && now_ns() < deadline_ns) {
        read_ready(progress_ns < deadline_ns ? progress_ns : deadline_ns);
        if (now_ns() >= progress_ns) {
            printf("{\"deliveries\": %ld}\n", seen.deliveries);
            progress_ns += PROGRESS_NS;
        }
    }
    struct cpu after = cpu_now();
    printf("{\"done\": true, \"streams\": %d, \"alive\": %d, \"complete\": %d, "
           "\"deliveries\": %ld, \"bytes\": %" PRIu64 ", \"gaps\": %ld, \"other\": %ld, "
           "\"first_ns\": %" PRId64 ", \"last_ns\": %" PRId64 ", \"cpu_s\": %.6f, ",
           stream_count, alive, seen.complete, seen.deliveries, seen.bytes, seen.gaps, seen.other,
           seen.first_ns, seen.last_ns,
           after.user_s + after.system_s - before.user_s - before.system_s);
    print_latency();
    printf("}\n");
}

static void close_streams(void) {
    for (int i = 0; i < stream_count; i++) {
        if (streams[i].fd >= 0)
            close_stream(&streams[i]);
    }
    free(streams);
    streams = NULL;
    stream_count = 0;
    printf("{\"done\": true, \"ended_by_server\": %d}\n", ended_by_server);
}

static void obey(const char *line) {
    char target[1024];
    int count, window;
    long first, last, step;
    double timeout_s;
    if (sscanf(line, "open %d %d %1023s", &count, &window, target) == 3)
        open_streams(count, window, target);
    else if (sscanf(line, "expect %ld %ld %lf %ld", &first, &last, &timeout_s, &step) == 4)
        expect(first, last, timeout_s, step);
    else if (strncmp(line, "close", 5) == 0)
        close_streams();
    else
        fail("not a command");
}

int main(int argc, char **argv) {
    char line[2048];
    if (argc != 3)
        fail("usage: client HOST PORT");
    address.sin_family = AF_INET;
    address.sin_port = htons(atoi(argv[2]));
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1)
        fail("expected an IPv4 address");
    setvbuf(stdout, NULL, _IOLBF, 0);
    poller = epoll_create1(0);
    if (poller < 0)
        fail("epoll_create1");
    while (fgets(line, sizeof line, stdin))
        obey(line);
    return 0;
}
