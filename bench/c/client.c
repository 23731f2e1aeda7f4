/* The client: opens event streams and reads them, fast enough not to be what is measured.
 *
 * Every event carries its number "n" and the time "t" at which it was due (CLOCK_MONOTONIC, ns).
 * A stream's events must be numbered without a gap, in steps of STEP: the number of users among whom
 * they go round. Other events (sse.open, ping) are only counted.
 *
 * Usage: client HOST PORT [SOURCE SOURCES]
 *   With SOURCE, streams come from that address and the ones after it in turn, SOURCES in all: an
 *   address has some 28,000 ports.
 * Commands, each answered by one line with "done": true:
 *   open COUNT WINDOW FIRST TIMEOUT_S TARGET
 *                                opens COUNT streams more, WINDOW at once; {} in TARGET is the number,
 *                                from FIRST. Those that are refused are opened again
 *   expect FIRST LAST TIMEOUT_S STEP
 *                                reads until every open stream had its last event up to LAST; counts
 *                                from FIRST; prints {"deliveries": N} now and then
 *   storm FIRST LAST TIMEOUT_S STEP CUT_NS WINDOW
 *                                the same, but at CUT_NS closes all streams at once and opens them
 *                                again, WINDOW at once, each with its Last-Event-ID
 *   listen SECONDS               reads and looks at the times of pings
 *   tokens PATH                  sends a token with each request from now on: the file has one a line,
 *                                and a stream has the one of its number, in turn
 *   close                        closes every stream */
#include "histogram.h"

#include <sys/epoll.h>

#define READ_BYTES (256 * 1024)
#define EVENTS_PER_WAIT 512
#define PROGRESS_NS 500000000
#define ID_BYTES 48   /* a last event ID and its NUL; longer ones are not sent back */
#define TARGET_BYTES 1024
#define TOKEN_BYTES 8192

struct stream {
    int fd;            /* -1 when closed */
    int number;        /* of {} in the target */
    bool asked;        /* its request has been sent */
    bool open;         /* its response head is complete */
    bool live;         /* an event came: it was not refused */
    int pings;         /* since the command */
    int64_t pinged_ns; /* the last of them */
    long next;         /* the number its next event must have; -1 before the first one */
    size_t kept;       /* bytes of an unfinished head or frame */
    size_t capacity;   /* of what they are kept in */
    char *keeping;
    char id[ID_BYTES]; /* its last event ID */
};

static struct sockaddr_in address;
static uint32_t first_source; /* in host order; 0 leaves it to the kernel */
static int sources;
static struct stream *streams;
static int stream_count, alive, opened, refused, ended_by_server;
static char target[TARGET_BYTES];
static char **tokens;
static int token_count;
static int poller;

/* Streams to be opened: a ring, none of them in it twice. */
static struct {
    int *numbers;
    int first, count;
    int started; /* taken out of it, not yet open or refused */
    bool again;  /* what is closed by the server goes into it */
} unopened;

/* One measurement, from a command to its answer. */
static struct {
    long first, last, step;
    int complete; /* streams that had their last event */
    long deliveries, other, gaps, duplicates, resumed, resets;
    uint64_t bytes;
    int64_t first_ns, last_ns;
    int64_t cut_ns, reopened_ns, recovered_ns;
    long pings;
    int64_t shortest_ns, longest_ns; /* between two pings of a stream */
} seen;

static void take_event(struct stream *stream, int64_t t, long n, size_t length, int64_t read_ns) {
    if (stream->next >= 0 && n < stream->next) {
        seen.duplicates++;
        return;
    }
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
    if (seen.cut_ns && (!seen.reopened_ns || t <= seen.reopened_ns))
        seen.recovered_ns = read_ns; /* it was missed, or came before the last stream was back */
    record_latency(t, read_ns);
}

static void take_ping(struct stream *stream, int64_t read_ns) {
    if (stream->pings++) {
        int64_t interval_ns = read_ns - stream->pinged_ns;
        if (!seen.shortest_ns || interval_ns < seen.shortest_ns)
            seen.shortest_ns = interval_ns;
        if (interval_ns > seen.longest_ns)
            seen.longest_ns = interval_ns;
    }
    stream->pinged_ns = read_ns;
    seen.pings++;
}

static void take_id(struct stream *stream, const char *id, const char *end) {
    const char *line_end = memchr(id, '\n', end - id);
    size_t length = (line_end ? line_end : end) - id;
    if (length >= ID_BYTES)
        length = 0;
    memcpy(stream->id, id, length);
    stream->id[length] = '\0';
}

/* A frame without a number: the server's own. */
static void take_other(struct stream *stream, const char *frame, const char *end, int64_t read_ns) {
    const char *id = memmem(frame, end - frame, "\nid: ", 5);
    size_t length = end - frame;
    if (id)
        take_id(stream, id + 5, end);
    if (*frame == ':' || (length > 11 && memcmp(frame, "event: ping", 11) == 0))
        take_ping(stream, read_ns);
    else if (memmem(frame, length, "event: sse.reset", 16))
        seen.resets++;
    else if (memmem(frame, length, "\"resumed\":true", 14))
        seen.resumed++;
    seen.other++;
}

/* One frame, without the two newlines at its end. */
static void take_frame(struct stream *stream, const char *frame, size_t length, int64_t read_ns) {
    const char *end = frame + length;
    int64_t t, n;
    stream->live = true;
    if (length > 4 && memcmp(frame, "id: ", 4) == 0)
        take_id(stream, frame + 4, end);
    if (find_numbers(frame, end, &t, &n))
        take_event(stream, t, n, length + 2, read_ns);
    else
        take_other(stream, frame, end, read_ns);
}

/* Takes the response head of a stream. One with a length is an answer that says: come back later. */
static void take_head(struct stream *stream, const char *head, size_t length) {
    if (memcmp(head, "HTTP/1.1", 8) != 0 || !memmem(head, length, " 200 ", 5)) {
        fprintf(stderr, "no event stream: %.*s\n", (int)length, head);
        exit(1);
    }
    if (memmem(head, length, "\nContent-Length:", 16))
        return;
    stream->open = true;
    opened++;
    unopened.started--;
}

/* Takes what is complete in `bytes`; returns how many bytes that were. */
static size_t take(struct stream *stream, const char *bytes, size_t length, int64_t read_ns) {
    const char *at = bytes, *end = bytes + length, *newline;
    if (!stream->open) {
        const char *head_end = memmem(bytes, length, "\r\n\r\n", 4);
        if (!head_end)
            return 0;
        take_head(stream, bytes, head_end - bytes);
        if (!stream->open)
            return 0; /* nothing of it counts, and the server ends it */
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

/* What is left is what a client remembers: its last event ID, and which event must come next. */
static void close_stream(struct stream *stream) {
    close(stream->fd);
    free(stream->keeping);
    stream->fd = -1;
    opened -= stream->open;
    unopened.started -= !stream->open;
    stream->asked = stream->open = stream->live = false;
    stream->kept = stream->capacity = 0;
    stream->keeping = NULL;
    alive--;
}

static void open_later(struct stream *stream) {
    unopened.numbers[(unopened.first + unopened.count++) % stream_count] = stream - streams;
}

static void on_closed_by_server(struct stream *stream) {
    if (stream->live)
        ended_by_server++;
    else
        refused++;
    close_stream(stream);
    if (unopened.again)
        open_later(stream);
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
    if (got < 0 && errno == ECONNREFUSED)
        fail("connect");
    if (got <= 0) {
        on_closed_by_server(stream);
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

/* Reads a token a line; a stream has the one of its number, in turn. */
static void read_tokens(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file)
        fail(path);
    char line[TOKEN_BYTES + 2];
    int room = 0;
    token_count = 0;
    while (fgets(line, sizeof line, file)) {
        if (token_count == room && !(tokens = realloc(tokens, (room += 4096) * sizeof *tokens)))
            fail("realloc");
        line[strcspn(line, "\n")] = 0;
        if (!(tokens[token_count++] = strdup(line)))
            fail("strdup");
    }
    fclose(file);
    printf("{\"done\": true, \"tokens\": %d}\n", token_count);
}

/* Sends the request; false while the connection is not yet made. */
static bool ask_for_stream(struct stream *stream) {
    char request[TARGET_BYTES + TOKEN_BYTES + 512], digits[16] = "", resume[ID_BYTES + 32] = "";
    char access[TOKEN_BYTES + 32] = "";
    const char *gap = strstr(target, "{}");
    int before = gap ? gap - target : (int)strlen(target);
    if (gap)
        snprintf(digits, sizeof digits, "%d", stream->number);
    if (*stream->id)
        snprintf(resume, sizeof resume, "Last-Event-ID: %s\r\n", stream->id);
    if (token_count)
        snprintf(access, sizeof access, "Authorization: Bearer %s\r\n",
                 tokens[stream->number % token_count]);
    int length = snprintf(request, sizeof request,
                          "GET %.*s%s%s HTTP/1.1\r\nHost: localhost\r\n"
                          "Accept: text/event-stream\r\nCache-Control: no-cache\r\n%s%s\r\n",
                          before, target, digits, gap ? gap + 2 : "", resume, access);
    if (send(stream->fd, request, length, MSG_NOSIGNAL) != length) {
        if (errno == EAGAIN || errno == ENOTCONN)
            return false;
        if (errno == ECONNREFUSED)
            fail("connect");
    } /* any other error is seen again when it is read */
    stream->asked = true;
    return true;
}

static void set_source(const struct stream *stream) {
    struct sockaddr_in source = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(first_source + stream->number % sources)};
    /* The port is chosen by connect(), which knows that another one to elsewhere may have it as well. */
    if (setsockopt(stream->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int)) < 0 ||
        bind(stream->fd, (struct sockaddr *)&source, sizeof source) < 0)
        fail("bind");
}

static void start_stream(struct stream *stream) {
    stream->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (stream->fd < 0)
        fail("socket");
    if (first_source)
        set_source(stream);
    /* On loopback it is done at once, unless the listener's queue is full. */
    if (connect(stream->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        fail("connect");
    alive++;
    unopened.started++;
    struct epoll_event interest = {.events = EPOLLIN, .data.u32 = stream - streams};
    if (!ask_for_stream(stream))
        interest.events = EPOLLOUT;
    if (epoll_ctl(poller, EPOLL_CTL_ADD, stream->fd, &interest) < 0)
        fail("epoll_ctl");
}

static void on_connected(struct stream *stream) {
    struct epoll_event interest = {.events = EPOLLIN, .data.u32 = stream - streams};
    if (ask_for_stream(stream) && epoll_ctl(poller, EPOLL_CTL_MOD, stream->fd, &interest) < 0)
        fail("epoll_ctl");
}

static void start_streams(int window) {
    while (unopened.count && unopened.started < window) {
        struct stream *stream = &streams[unopened.numbers[unopened.first]];
        unopened.first = (unopened.first + 1) % stream_count;
        unopened.count--;
        start_stream(stream);
    }
}

/* Reads what has come; waits for it at most until `deadline_ns`. Returns how many streams had something. */
static int read_ready(int64_t deadline_ns) {
    struct epoll_event ready[EVENTS_PER_WAIT];
    int64_t left_ns = deadline_ns - now_ns();
    int count = epoll_wait(poller, ready, EVENTS_PER_WAIT, left_ns > 0 ? left_ns / 1000000 + 1 : 0);
    for (int i = 0; i < count; i++) {
        struct stream *stream = &streams[ready[i].data.u32];
        if (stream->fd >= 0 && !stream->asked)
            on_connected(stream);
        else if (stream->fd >= 0)
            read_stream(stream);
    }
    return count;
}

static double cpu_s_since(struct cpu before) {
    struct cpu now = cpu_now();
    return now.user_s + now.system_s - before.user_s - before.system_s;
}

/* Room for `count` streams more, all of them to be opened. */
static void add_streams(int count, int first_number) {
    streams = realloc(streams, (stream_count + count) * sizeof *streams);
    unopened.numbers = realloc(unopened.numbers, (stream_count + count) * sizeof(int));
    if (!streams || !unopened.numbers)
        fail("realloc");
    unopened.first = unopened.count = 0;
    for (int i = 0; i < count; i++) {
        streams[stream_count] = (struct stream){.fd = -1, .number = first_number + i, .next = -1};
        unopened.numbers[unopened.count++] = stream_count++;
    }
}

static void open_streams(int count, int window, int first_number, double timeout_s) {
    int64_t start_ns = now_ns(), deadline_ns = start_ns + (int64_t)(timeout_s * 1e9);
    struct cpu before = cpu_now();
    add_streams(count, first_number);
    refused = ended_by_server = 0;
    unopened.again = true;
    while (opened < stream_count && now_ns() < deadline_ns) {
        start_streams(window);
        read_ready(deadline_ns);
    }
    unopened.again = false;
    int64_t end_ns = now_ns();
    printf("{\"done\": true, \"opened\": %d, \"failed\": %d, \"refused\": %d, \"start_ns\": %" PRId64
           ", \"end_ns\": %" PRId64 ", \"seconds\": %.6f, \"cpu_s\": %.6f}\n",
           count - (stream_count - opened), stream_count - opened, refused, start_ns, end_ns,
           (end_ns - start_ns) / 1e9, cpu_s_since(before));
}

/* Closes all streams as a network that goes away does: nothing is said. */
static void cut_streams(void) {
    unopened.first = 0;
    seen.cut_ns = now_ns();
    for (int i = 0; i < stream_count; i++) {
        if (streams[i].fd >= 0) {
            setsockopt(streams[i].fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0},
                       sizeof(struct linger));
            close_stream(&streams[i]);
            open_later(&streams[i]);
        }
    }
}

/* Reads until all have their last event; when `cut_ns` is not 0, cuts them meanwhile and opens them
 * again. */
static void expect(long first, long last, double timeout_s, long step, int64_t cut_ns, int window) {
    int64_t start_ns = now_ns(), deadline_ns = start_ns + (int64_t)(timeout_s * 1e9);
    int64_t progress_ns = start_ns + PROGRESS_NS;
    struct cpu before = cpu_now();
    memset(&seen, 0, sizeof seen);
    clear_latency();
    seen.first = first;
    seen.last = last;
    seen.step = step;
    while (seen.complete < (cut_ns ? stream_count : alive) && now_ns() < deadline_ns) {
        int64_t wake_ns = progress_ns < deadline_ns ? progress_ns : deadline_ns;
        if (cut_ns && !seen.cut_ns) {
            if (now_ns() >= cut_ns) {
                cut_streams();
                refused = ended_by_server = 0;
                unopened.again = true;
            } else if (cut_ns < wake_ns)
                wake_ns = cut_ns;
        }
        start_streams(window);
        read_ready(wake_ns);
        if (seen.cut_ns && !seen.reopened_ns && opened == stream_count)
            seen.reopened_ns = now_ns();
        if (now_ns() >= progress_ns) {
            printf("{\"deliveries\": %ld}\n", seen.deliveries);
            progress_ns += PROGRESS_NS;
        }
    }
    unopened.again = false;
    printf("{\"done\": true, \"streams\": %d, \"alive\": %d, \"complete\": %d, "
           "\"deliveries\": %ld, \"bytes\": %" PRIu64 ", \"gaps\": %ld, \"duplicates\": %ld, "
           "\"other\": %ld, \"first_ns\": %" PRId64 ", \"last_ns\": %" PRId64 ", ",
           stream_count, alive, seen.complete, seen.deliveries, seen.bytes, seen.gaps,
           seen.duplicates, seen.other, seen.first_ns, seen.last_ns);
    if (cut_ns)
        printf("\"cut_ns\": %" PRId64 ", \"reopened_ns\": %" PRId64 ", \"recovered_ns\": %" PRId64
               ", \"resumed\": %ld, \"resets\": %ld, \"refused\": %d, \"ended_by_server\": %d, ",
               seen.cut_ns, seen.reopened_ns, seen.recovered_ns, seen.resumed, seen.resets, refused,
               ended_by_server);
    printf("\"cpu_s\": %.6f, ", cpu_s_since(before));
    print_latency();
    printf("}\n");
}

static void listen_for(double seconds) {
    struct cpu before = cpu_now();
    while (read_ready(0) > 0) {
    } /* pings that came when nobody listened would be taken for late ones */
    int64_t start_ns = now_ns(), end_ns = start_ns + (int64_t)(seconds * 1e9);
    memset(&seen, 0, sizeof seen);
    for (int i = 0; i < stream_count; i++) {
        streams[i].pings = 0;
        streams[i].pinged_ns = start_ns;
    }
    while (now_ns() < end_ns)
        read_ready(end_ns);
    int fewest = -1;
    int64_t since_ns = now_ns();
    for (int i = 0; i < stream_count; i++) {
        if (streams[i].fd < 0)
            continue;
        if (fewest < 0 || streams[i].pings < fewest)
            fewest = streams[i].pings;
        if (streams[i].pinged_ns < since_ns)
            since_ns = streams[i].pinged_ns;
    }
    printf("{\"done\": true, \"streams\": %d, \"alive\": %d, \"pings\": %ld, \"fewest\": %d, "
           "\"shortest_ns\": %" PRId64 ", \"longest_ns\": %" PRId64 ", \"silent_ns\": %" PRId64
           ", \"cpu_s\": %.6f}\n",
           stream_count, alive, seen.pings, fewest, seen.shortest_ns, seen.longest_ns,
           now_ns() - since_ns, cpu_s_since(before));
}

static void close_streams(void) {
    for (int i = 0; i < stream_count; i++) {
        if (streams[i].fd >= 0)
            close_stream(&streams[i]);
    }
    stream_count = 0;
    printf("{\"done\": true, \"ended_by_server\": %d}\n", ended_by_server);
}

static void obey(const char *line) {
    int count, window, first_number;
    long first, last, step;
    int64_t cut_ns;
    double timeout_s;
    if (sscanf(line, "open %d %d %d %lf %1023s", &count, &window, &first_number, &timeout_s,
               target) == 5)
        open_streams(count, window, first_number, timeout_s);
    else if (sscanf(line, "expect %ld %ld %lf %ld", &first, &last, &timeout_s, &step) == 4)
        expect(first, last, timeout_s, step, 0, 0);
    else if (sscanf(line, "storm %ld %ld %lf %ld %" SCNd64 " %d", &first, &last, &timeout_s, &step,
                    &cut_ns, &window) == 6)
        expect(first, last, timeout_s, step, cut_ns, window);
    else if (sscanf(line, "listen %lf", &timeout_s) == 1)
        listen_for(timeout_s);
    else if (sscanf(line, "tokens %1023s", target) == 1)
        read_tokens(target);
    else if (strncmp(line, "close", 5) == 0)
        close_streams();
    else
        fail("not a command");
}

int main(int argc, char **argv) {
    char line[2048];
    struct in_addr source;
    if (argc != 3 && argc != 5)
        fail("usage: client HOST PORT [SOURCE SOURCES]");
    address.sin_family = AF_INET;
    address.sin_port = htons(atoi(argv[2]));
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1)
        fail("expected an IPv4 address");
    if (argc == 5) {
        sources = atoi(argv[4]);
        if (inet_pton(AF_INET, argv[3], &source) != 1 || sources < 1)
            fail("expected an IPv4 address and how many");
        first_source = ntohl(source.s_addr);
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    raise_descriptor_limit();
    poller = epoll_create1(0);
    if (poller < 0)
        fail("epoll_create1");
    while (fgets(line, sizeof line, stdin))
        obey(line);
    return 0;
}
