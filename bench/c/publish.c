/* The publisher: hands events to a server of event streams, on a schedule or as fast as they go.
 *
 * Usage: publish URL [BATCH], where URL is
 *   unix:///path, redis://IPV4:PORT   PUBLISH on channel user-events of a Redis
 *   http://IPV4:PORT/path/{}          POST of the event's data, {} is the user; one connection, requests
 *                                     sent without waiting for the answers to those before (pipelined)
 *   pipe:COMMAND                      one line of JSON an event to the stdin of a shell command
 * BATCH: events as fast as they go are sent in batches of so many, the next one when the one before has
 * been answered; 0 or none: without waiting
 * Command: run FIRST COUNT START_NS INTERVAL_NS DATA_BYTES USERS */
#include "bench.h"

#include <signal.h>
#include <sys/un.h>

#define BATCH_BYTES (64 * 1024) /* arbitrary: what goes out in one write, at most */
#define ANSWER_TIMEOUT_MS 10000 /* arbitrary: a server is silent for so long only when it is stuck */
#define MAX_HEAD_BYTES 8192     /* arbitrary: of an HTTP answer */

/* A way to publish. */
struct way {
    const char *scheme;
    int (*connect)(const char *url);
    size_t (*write_event)(char *to, const struct schedule *run, int64_t t, long n);
    void (*take_answers)(const char *from, size_t length); /* NULL: nothing answers */
};

static const struct way *way;
static int connection;
static long answers; /* since the connection */
static long batch_events; /* 0: without waiting for answers */
static const char *path, *path_end; /* of the URL, before and after {} */

static int connect_to(int family, const struct sockaddr *address, socklen_t length, const char *url) {
    int connected = socket(family, SOCK_STREAM, 0);
    if (connected < 0 || connect(connected, address, length) < 0)
        fail(url);
    return connected;
}

static int connect_local(const char *url) {
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    if (sscanf(url, "unix://%107s", local.sun_path) != 1)
        fail("expected unix:///path");
    return connect_to(AF_UNIX, (struct sockaddr *)&local, sizeof local, url);
}

static int connect_internet(const char *url) {
    struct sockaddr_in internet = {.sin_family = AF_INET};
    char host[64];
    int port;
    if (sscanf(url, "%*[a-z]://%63[^:]:%d", host, &port) != 2 ||
        inet_pton(AF_INET, host, &internet.sin_addr) != 1)
        fail("expected redis://IPV4:PORT or http://IPV4:PORT/path/{}");
    internet.sin_port = htons(port);
    int connected = connect_to(AF_INET, (struct sockaddr *)&internet, sizeof internet, url);
    setsockopt(connected, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return connected;
}

static int connect_http(const char *url) {
    path = strchr(url + strlen("http://"), '/');
    path_end = path ? strstr(path, "{}") : NULL;
    if (!path_end)
        fail("expected http://IPV4:PORT/path/{}");
    return connect_internet(url);
}

/* Its stdin is a socket, so that it is written to like the others. */
static int start_command(const char *url) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        fail("socketpair");
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        dup2(ends[1], STDIN_FILENO);
        dup2(STDERR_FILENO, STDOUT_FILENO); /* our stdout is for our parent */
        execl("/bin/sh", "sh", "-c", url + strlen("pipe:"), (char *)NULL);
        fail("/bin/sh");
    }
    close(ends[1]);
    return ends[0];
}

/* One line per PUBLISH, an integer when it was taken. */
static void take_redis_answers(const char *from, size_t length) {
    static char previous = '\n';
    for (size_t i = 0; i < length; i++) {
        if (previous == '\n' && from[i] != ':')
            fail("Redis refused a PUBLISH");
        answers += from[i] == '\n';
        previous = from[i];
    }
}

/* The bytes of the content that follows a complete head, which is not to be refused. */
static long content_bytes(const char *head) {
    int status;
    const char *length = strcasestr(head, "\r\nContent-Length:");
    if (sscanf(head, "HTTP/1.1 %d", &status) != 1 || status / 100 != 2) {
        fprintf(stderr, "%s", head);
        fail("a POST was refused");
    }
    if (!length && status != 204)
        fail("expected Content-Length in the answer to a POST");
    return length ? strtol(length + strlen("\r\nContent-Length:"), NULL, 10) : 0;
}

static void take_http_answers(const char *from, size_t length) {
    static char head[MAX_HEAD_BYTES + 1];
    static size_t head_bytes;
    static long content_left;
    for (const char *end = from + length; from < end;) {
        if (content_left > 0) {
            long skipped = content_left < end - from ? content_left : end - from;
            from += skipped;
            content_left -= skipped;
            answers += content_left == 0;
            continue;
        }
        if (head_bytes == MAX_HEAD_BYTES)
            fail("the head of an answer is too long");
        head[head_bytes++] = *from++;
        if (head_bytes >= 4 && memcmp(head + head_bytes - 4, "\r\n\r\n", 4) == 0) {
            head[head_bytes] = '\0';
            head_bytes = 0;
            content_left = content_bytes(head);
            answers += content_left == 0;
        }
    }
}

static void read_answers(void) {
    static char bytes[65536];
    ssize_t length;
    while ((length = recv(connection, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        if (way->take_answers)
            way->take_answers(bytes, length);
    }
    if (length == 0 || errno != EAGAIN)
        fail("what is published to closed the connection");
}

static void wait_for(short events) {
    struct pollfd wait = {.fd = connection, .events = events};
    if (poll(&wait, 1, ANSWER_TIMEOUT_MS) <= 0)
        fail("what is published to does not answer");
    if (wait.revents & POLLIN)
        read_answers();
}

static void flush(const char *from, size_t length) {
    while (length > 0) {
        ssize_t sent = send(connection, from, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            fail("what is published to closed the connection");
        if (sent < 0)
            wait_for(POLLIN | POLLOUT);
        else {
            from += sent;
            length -= sent;
        }
    }
    read_answers(); /* or they fill the socket, and the server waits for us */
}

static size_t write_envelope(char *to, const struct schedule *run, int64_t t, long n) {
    char user[32];
    write_user(user, run, n);
    int length = sprintf(to, "{\"userId\":\"%s\",\"eventType\":\"tick\",\"data\":{", user);
    length += write_members(to + length, t, n, run->data_bytes);
    memcpy(to + length, "}}", 2);
    return length + 2;
}

static size_t write_publish(char *to, const struct schedule *run, int64_t t, long n) {
    static char payload[MAX_EVENT_BYTES];
    size_t length = write_envelope(payload, run, t, n);
    int head = sprintf(to, "*3\r\n$7\r\nPUBLISH\r\n$11\r\nuser-events\r\n$%zu\r\n", length);
    memcpy(to + head, payload, length);
    memcpy(to + head + length, "\r\n", 2);
    return head + length + 2;
}

/* The content is what sse-node makes of the envelope, so that the `data:` lines are the same. */
static size_t write_post(char *to, const struct schedule *run, int64_t t, long n) {
    static char content[MAX_EVENT_BYTES];
    char user[32];
    write_user(user, run, n);
    int length = sprintf(content, "{\"eventType\":\"tick\",");
    length += write_members(content + length, t, n, run->data_bytes);
    content[length++] = '}';
    int head = sprintf(to,
                       "POST %.*s%s%s HTTP/1.1\r\nHost: localhost\r\n"
                       "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n",
                       (int)(path_end - path), path, user, path_end + 2, length);
    memcpy(to + head, content, length);
    return head + length;
}

static size_t write_line(char *to, const struct schedule *run, int64_t t, long n) {
    size_t length = write_envelope(to, run, t, n);
    to[length] = '\n';
    return length + 1;
}

static const struct way WAYS[] = {
    {"unix:", connect_local, write_publish, take_redis_answers},
    {"redis:", connect_internet, write_publish, take_redis_answers},
    {"http:", connect_http, write_post, take_http_answers},
    {"pipe:", start_command, write_line, NULL},
};

static const struct way *way_of(const char *url) {
    for (size_t i = 0; i < sizeof WAYS / sizeof *WAYS; i++) {
        if (strncmp(url, WAYS[i].scheme, strlen(WAYS[i].scheme)) == 0)
            return &WAYS[i];
    }
    fail("expected a URL that begins with unix:, redis:, http: or pipe:");
    return NULL;
}

static void publish_events(const struct schedule *run) {
    static char batch[BATCH_BYTES + MAX_EVENT_BYTES];
    size_t length = 0;
    long answered_before = answers;
    int64_t first_ns = 0, latest_ns = 0;

    for (long i = 0; i < run->count; i++) {
        int64_t due_ns = wait_for_event(run, i);
        int64_t late_ns = now_ns() - due_ns;
        latest_ns = late_ns > latest_ns ? late_ns : latest_ns;
        first_ns = first_ns ? first_ns : due_ns;
        length += way->write_event(batch + length, run, due_ns, run->first + i);
        int is_full = batch_events > 0 && (i + 1) % batch_events == 0;
        if (run->interval_ns > 0 || length >= BATCH_BYTES || is_full || i == run->count - 1) {
            flush(batch, length);
            length = 0;
        }
        while (run->interval_ns == 0 && is_full && answers - answered_before <= i)
            wait_for(POLLIN);
    }
    int64_t last_ns = now_ns();
    while (way->take_answers && answers - answered_before < run->count)
        wait_for(POLLIN);

    printf("{\"done\": true, \"events\": %ld, \"first_ns\": %" PRId64 ", \"last_ns\": %" PRId64
           ", \"latest_ns\": %" PRId64 "}\n",
           run->count, first_ns, last_ns, latest_ns);
}

int main(int argc, char **argv) {
    char line[256];
    struct schedule run;
    if (argc != 2 && argc != 3)
        fail("usage: publish URL [BATCH]");
    setvbuf(stdout, NULL, _IOLBF, 0);
    prctl(PR_SET_TIMERSLACK, 1);
    way = way_of(argv[1]);
    batch_events = argc == 3 && way->take_answers ? atol(argv[2]) : 0;
    connection = way->connect(argv[1]);
    while (fgets(line, sizeof line, stdin)) {
        if (!parse_run(line, &run))
            fail("not a run command");
        publish_events(&run);
    }
    return 0;
}
