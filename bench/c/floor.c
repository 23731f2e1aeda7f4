/* The floor: what it costs to send one event to many sockets when nothing else is done.
 *
 * Takes event streams on a loopback port and, on command, writes the same bytes at the same times
 * as a node would: one plain send() per event and stream that wants it (stream k is user k's). No
 * Redis, no JSON, no queue.
 *
 * Usage: floor      prints {"port": P}
 * Command: run FIRST COUNT START_NS INTERVAL_NS DATA_BYTES USERS */
#include "bench.h"

#define MAX_STREAMS 65536

static const char HEAD[] =
    "HTTP/1.1 200 OK\r\n"
    "Content-Type: text/event-stream; charset=utf-8\r\n"
    "Cache-Control: no-store, no-transform\r\n"
    "X-Accel-Buffering: no\r\n"
    "Connection: close\r\n"
    "\r\n"
    "retry: 3000\nevent: sse.open\nid: 1763900000000-0\n"
    "data: {\"serverId\":\"floor\",\"resumed\":false,\"replayed\":0}\n\n";

static int streams[MAX_STREAMS];
static int stream_count;

static int listen_on_loopback(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) < 0 ||
        listen(listener, 4096) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) < 0)
        fail("listen");
    printf("{\"port\": %d}\n", ntohs(address.sin_port));
    return listener;
}

/* Takes one connection, reads its request head and answers with the head of a stream. */
static void open_stream(int listener) {
    static char head[16384];
    size_t length = 0;
    struct timeval patience = {.tv_sec = 5};
    int stream = accept(listener, NULL, NULL);
    if (stream < 0 || stream_count == MAX_STREAMS)
        fail("accept");
    setsockopt(stream, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(stream, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    while (!memmem(head, length, "\r\n\r\n", 4)) {
        ssize_t got = recv(stream, head + length, sizeof head - length, 0);
        if (got <= 0) {
            close(stream);
            return;
        }
        length += got;
    }
    if (send(stream, HEAD, sizeof HEAD - 1, MSG_NOSIGNAL) < 0)
        fail("send");
    streams[stream_count++] = stream;
}

static void send_events(const struct schedule *run) {
    static char frame[MAX_EVENT_BYTES];
    static const char START[] = "data: {\"eventType\":\"tick\",";
    long deliveries = 0, refused = 0;
    int64_t latest_ns = 0;
    struct cpu before = cpu_now();

    memcpy(frame, START, sizeof START - 1);
    for (long i = 0; i < run->count; i++) {
        int64_t due_ns = wait_for_event(run, i);
        int64_t late_ns = now_ns() - due_ns;
        latest_ns = late_ns > latest_ns ? late_ns : latest_ns;
        int length = sizeof START - 1;
        length += write_members(frame + length, due_ns, run->first + i, run->data_bytes);
        memcpy(frame + length, "}\n\n", 3);
        length += 3;
        int step = run->users == 1 ? 1 : stream_count;
        for (int k = run->users == 1 ? 0 : (run->first + i) % run->users; k < stream_count; k += step) {
            if (send(streams[k], frame, length, MSG_DONTWAIT | MSG_NOSIGNAL) == length)
                deliveries++;
            else
                refused++;
        }
    }

    struct cpu after = cpu_now();
    printf("{\"done\": true, \"events\": %ld, \"deliveries\": %ld, \"refused\": %ld, "
           "\"latest_ns\": %" PRId64 ", \"user_s\": %.6f, \"system_s\": %.6f}\n",
           run->count, deliveries, refused, latest_ns, after.user_s - before.user_s,
           after.system_s - before.system_s);
}

int main(void) {
    char line[256];
    struct schedule run;
    setvbuf(stdout, NULL, _IOLBF, 0);
    setvbuf(stdin, NULL, _IONBF, 0); /* poll() must see what has not been read */
    raise_descriptor_limit();
    prctl(PR_SET_TIMERSLACK, 1);
    struct pollfd waits[] = {{.fd = listen_on_loopback(), .events = POLLIN},
                             {.fd = STDIN_FILENO, .events = POLLIN}};
    while (poll(waits, 2, -1) >= 0) {
        if (waits[0].revents)
            open_stream(waits[0].fd);
        if (waits[1].revents) {
            if (!fgets(line, sizeof line, stdin))
                return 0;
            if (!parse_run(line, &run))
                fail("not a run command");
            send_events(&run);
        }
    }
    fail("poll");
}
