/* The publisher: PUBLISHes events to Redis, on a schedule or as fast as they go.
 *
 * Usage: publish unix:///path | redis://HOST:PORT
 * Command: run FIRST COUNT START_NS INTERVAL_NS DATA_BYTES USERS */
#include "bench.h"

#include <sys/un.h>

#define BATCH_BYTES (64 * 1024) /* arbitrary: commands that go to Redis in one write, at most */
#define ANSWER_TIMEOUT_MS 10000 /* arbitrary: Redis is silent for so long only when it is stuck */

static int redis;
static long answers; /* to PUBLISHes, since the connection */

static int connect_to(const char *url) {
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in internet = {.sin_family = AF_INET};
    struct sockaddr *address = (struct sockaddr *)&local;
    socklen_t length = sizeof local;
    char host[64];
    int port;
    if (sscanf(url, "unix://%107s", local.sun_path) != 1) {
        if (sscanf(url, "redis://%63[^:]:%d", host, &port) != 2 ||
            inet_pton(AF_INET, host, &internet.sin_addr) != 1)
            fail("expected unix:///path or redis://IPV4:PORT");
        internet.sin_port = htons(port);
        address = (struct sockaddr *)&internet;
        length = sizeof internet;
    }
    int connection = socket(address->sa_family, SOCK_STREAM, 0);
    if (connection < 0 || connect(connection, address, length) < 0)
        fail(url);
    return connection;
}

/* Counts what Redis has answered: one line per PUBLISH, an integer when it was taken. */
static void read_answers(void) {
    static char answer[65536];
    static char previous = '\n';
    ssize_t length = recv(redis, answer, sizeof answer, MSG_DONTWAIT);
    if (length == 0 || (length < 0 && errno != EAGAIN))
        fail("Redis closed the connection");
    for (ssize_t i = 0; i < length; i++) {
        if (previous == '\n' && answer[i] != ':')
            fail("Redis refused a PUBLISH");
        answers += answer[i] == '\n';
        previous = answer[i];
    }
}

static void wait_for(short events) {
    struct pollfd wait = {.fd = redis, .events = events};
    if (poll(&wait, 1, ANSWER_TIMEOUT_MS) <= 0)
        fail("Redis does not answer");
    if (wait.revents & POLLIN)
        read_answers();
}

static void flush(const char *from, size_t length) {
    while (length > 0) {
        ssize_t sent = send(redis, from, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            fail("send");
        if (sent < 0)
            wait_for(POLLIN | POLLOUT);
        else {
            from += sent;
            length -= sent;
        }
    }
}

static size_t write_command(char *to, const struct schedule *run, int64_t t, long n) {
    static char payload[MAX_EVENT_BYTES];
    char user[32];
    write_user(user, run, n);
    int length = sprintf(payload, "{\"userId\":\"%s\",\"eventType\":\"tick\",\"data\":{", user);
    length += write_members(payload + length, t, n, run->data_bytes);
    memcpy(payload + length, "}}", 2);
    length += 2;
    int head = sprintf(to, "*3\r\n$7\r\nPUBLISH\r\n$11\r\nuser-events\r\n$%d\r\n", length);
    memcpy(to + head, payload, length);
    memcpy(to + head + length, "\r\n", 2);
    return head + length + 2;
}

static void publish_events(const struct schedule *run) {
    static char commands[BATCH_BYTES + MAX_EVENT_BYTES];
    size_t length = 0;
    long answered_before = answers;
    int64_t first_ns = 0, latest_ns = 0;

    for (long i = 0; i < run->count; i++) {
        int64_t due_ns = wait_for_event(run, i);
        int64_t late_ns = now_ns() - due_ns;
        latest_ns = late_ns > latest_ns ? late_ns : latest_ns;
        first_ns = first_ns ? first_ns : due_ns;
        length += write_command(commands + length, run, due_ns, run->first + i);
        if (run->interval_ns > 0 || length >= BATCH_BYTES || i == run->count - 1) {
            flush(commands, length);
            length = 0;
        }
    }
    int64_t last_ns = now_ns();
    while (answers - answered_before < run->count)
        wait_for(POLLIN);

    printf("{\"done\": true, \"events\": %ld, \"first_ns\": %" PRId64 ", \"last_ns\": %" PRId64
           ", \"latest_ns\": %" PRId64 "}\n",
           run->count, first_ns, last_ns, latest_ns);
}

int main(int argc, char **argv) {
    char line[256];
    struct schedule run;
    if (argc != 2)
        fail("usage: publish URL");
    setvbuf(stdout, NULL, _IOLBF, 0);
    prctl(PR_SET_TIMERSLACK, 1);
    redis = connect_to(argv[1]);
    while (fgets(line, sizeof line, stdin)) {
        if (!parse_run(line, &run))
            fail("not a run command");
        publish_events(&run);
    }
    return 0;
}
