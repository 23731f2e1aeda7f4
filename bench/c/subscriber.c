/* The bare subscriber: one connection to Redis that is subscribed to user-events and does nothing
 * but note when each event came. What it takes is what any server behind Redis cannot go below.
 *
 * Usage: subscriber unix:///path
 * Command: expect FIRST LAST TIMEOUT_S STEP     as the client's; STEP is 1 */
#include "histogram.h"

#include <sys/un.h>

static const char SUBSCRIBE[] = "*2\r\n$9\r\nSUBSCRIBE\r\n$11\r\nuser-events\r\n";

static int redis;
static char bytes[2 * MAX_EVENT_BYTES];
static size_t kept; /* bytes of an unfinished message */

static struct {
    long first, last, next, deliveries, gaps;
    uint64_t bytes;
    int64_t first_ns, last_ns;
} seen;

static void connect_to(const char *url) {
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    if (sscanf(url, "unix://%107s", local.sun_path) != 1)
        fail("expected unix:///path");
    redis = socket(AF_UNIX, SOCK_STREAM, 0);
    if (redis < 0 || connect(redis, (struct sockaddr *)&local, sizeof local) < 0)
        fail(url);
    if (send(redis, SUBSCRIBE, sizeof SUBSCRIBE - 1, MSG_NOSIGNAL) < 0)
        fail("send");
    size_t length = 0; /* the answer: subscribe, user-events, 1 */
    while (!memmem(bytes, length, ":1\r\n", 4)) {
        ssize_t got = recv(redis, bytes + length, sizeof bytes - length, 0);
        if (got <= 0)
            fail("Redis closed the connection");
        length += got;
    }
}

static void take_payload(const char *payload, size_t length, int64_t read_ns) {
    int64_t t, n;
    if (!find_numbers(payload, payload + length, &t, &n) || n < seen.first || n > seen.last)
        return;
    seen.gaps += n != seen.next;
    seen.next = n + 1;
    seen.deliveries++;
    seen.bytes += length;
    seen.first_ns = seen.first_ns ? seen.first_ns : read_ns;
    seen.last_ns = read_ns;
    record_latency(t, read_ns);
}

/* Takes the complete messages, *3 message user-events PAYLOAD; returns how many bytes they were. */
static size_t take(size_t length, int64_t read_ns) {
    static const char HEAD[] = "*3\r\n$7\r\nmessage\r\n$11\r\nuser-events\r\n$";
    const char *at = bytes, *end = bytes + length;
    for (;;) {
        const char *size_at = at + sizeof HEAD - 1, *line_end;
        if (size_at >= end || !(line_end = memchr(size_at, '\n', end - size_at)))
            return at - bytes;
        if (memcmp(at, HEAD, sizeof HEAD - 1) != 0)
            fail("not a message");
        int64_t size;
        skip_number(size_at, line_end, &size);
        if (line_end + 1 + size + 2 > end)
            return at - bytes;
        take_payload(line_end + 1, size, read_ns);
        at = line_end + 1 + size + 2;
    }
}

static void expect(long first, long last, double timeout_s) {
    int64_t deadline_ns = now_ns() + (int64_t)(timeout_s * 1e9), left_ns;
    struct cpu before = cpu_now();
    memset(&seen, 0, sizeof seen);
    clear_latency();
    seen.first = seen.next = first;
    seen.last = last;
    while (seen.next <= last && (left_ns = deadline_ns - now_ns()) > 0) {
        struct pollfd wait = {.fd = redis, .events = POLLIN};
        if (poll(&wait, 1, left_ns / 1000000 + 1) <= 0)
            continue;
        ssize_t got = recv(redis, bytes + kept, sizeof bytes - kept, 0);
        if (got <= 0)
            fail("Redis closed the connection");
        size_t length = kept + got, taken = take(length, now_ns());
        kept = length - taken;
        memmove(bytes, bytes + taken, kept);
    }
    struct cpu after = cpu_now();
    printf("{\"done\": true, \"streams\": 1, \"alive\": 1, \"complete\": %d, \"deliveries\": %ld, "
           "\"bytes\": %" PRIu64 ", \"gaps\": %ld, \"first_ns\": %" PRId64 ", \"last_ns\": %" PRId64
           ", \"cpu_s\": %.6f, ",
           seen.next > last, seen.deliveries, seen.bytes, seen.gaps, seen.first_ns, seen.last_ns,
           after.user_s + after.system_s - before.user_s - before.system_s);
    print_latency();
    printf("}\n");
}

int main(int argc, char **argv) {
    char line[256];
    long first, last, step;
    double timeout_s;
    if (argc != 2)
        fail("usage: subscriber URL");
    setvbuf(stdout, NULL, _IOLBF, 0);
    connect_to(argv[1]);
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "expect %ld %ld %lf %ld", &first, &last, &timeout_s, &step) != 4)
            fail("not a command");
        expect(first, last, timeout_s);
    }
    return 0;
}
