/*
 * A sink for PUTs that is faster than any client, and the load generator that shows it.
 *
 *   sink serve PORT DELAY_MS          one thread a connection; bodies are discarded in the kernel (MSG_TRUNC);
 *                                     GET is answered with an empty listing, GET /_count with what came in
 *   sink load PORT CONNECTIONS SECONDS BYTES   PUTs of BYTES each, as many as it takes; prints PUTs a second
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static atomic_long puts_seen, bytes_seen;
static int delay_ms, port, connections;
static long body_bytes;
static double until;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int send_all(int s, const char *data, long size) {
    while (size > 0) {
        long sent = send(s, data, size, MSG_NOSIGNAL);
        if (sent <= 0) return -1;
        data += sent;
        size -= sent;
    }
    return 0;
}

static void *serve(void *arg) {
    int s = (int)(long)arg, one = 1;
    char head[16384];
    long have = 0;
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    for (;;) {
        char *end;
        head[have] = 0;
        while (!(end = strstr(head, "\r\n\r\n"))) {
            long got = have < (long)sizeof head - 1 ? recv(s, head + have, sizeof head - 1 - have, 0) : 0;
            if (got <= 0) goto out;
            have += got;
            head[have] = 0;
        }
        *end = 0;
        char *length = strcasestr(head, "\ncontent-length:");
        long size = length ? atol(length + 16) : 0, rest = have - (end + 4 - head);
        int is_put = !strncmp(head, "PUT", 3), counts = !strncmp(head, "GET /_count", 11);
        int is_list = !strncmp(head, "GET", 3);
        if (strcasestr(head, "\nexpect: 100-continue")) send_all(s, "HTTP/1.1 100 Continue\r\n\r\n", 25);
        if (rest > size) {
            memmove(head, end + 4 + size, rest - size);
            have = rest - size;
        } else {
            have = 0;
            for (long left = size - rest; left > 0;) {
                long got = recv(s, 0, left < 1 << 20 ? left : 1 << 20, MSG_TRUNC);
                if (got <= 0) goto out;
                left -= got;
            }
        }
        if (is_put) {
            atomic_fetch_add(&puts_seen, 1);
            atomic_fetch_add(&bytes_seen, size);
            if (delay_ms) usleep(delay_ms * 1000);
        }
        char body[512] = "", reply[1024];
        if (counts)
            snprintf(body, sizeof body, "{\"puts\": %ld, \"bytes\": %ld}", puts_seen, bytes_seen);
        else if (is_list)
            strcpy(body, "<?xml version=\"1.0\"?><ListBucketResult><Name>b</Name><KeyCount>0</KeyCount>"
                         "<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>");
        int n = snprintf(reply, sizeof reply,
                         "HTTP/1.1 200 OK\r\nETag: \"0123456789abcdef0123456789abcdef\"\r\n"
                         "Content-Type: %s\r\nContent-Length: %zu\r\n\r\n%s",
                         is_put ? "text/plain" : "application/xml", strlen(body), body);
        if (send_all(s, reply, n)) goto out;
    }
out:
    close(s);
    return 0;
}

static int connected(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(s, (struct sockaddr *)&a, sizeof a)) exit(1);
    return s;
}

static void *load(void *arg) {
    (void)arg;
    int s = connected();
    char head[256], reply[1024], *body = calloc(1, body_bytes);
    int n = snprintf(head, sizeof head, "PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: %ld\r\n\r\n", body_bytes);
    while (now() < until) {
        if (send_all(s, head, n) || send_all(s, body, body_bytes) || recv(s, reply, sizeof reply, 0) <= 0) exit(1);
        atomic_fetch_add(&puts_seen, 1);
    }
    return 0;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 * 1024);
    port = atoi(argv[2]);
    if (argc > 5 && !strcmp(argv[1], "load")) {
        connections = atoi(argv[3]);
        double began = now();
        until = began + atof(argv[4]);
        body_bytes = atol(argv[5]);
        pthread_t threads[1024];
        for (int i = 0; i < connections; i++) pthread_create(&threads[i], &small, load, 0);
        for (int i = 0; i < connections; i++) pthread_join(threads[i], 0);
        printf("%.1f\n", puts_seen / (now() - began));
        return 0;
    }
    delay_ms = atoi(argv[3]);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(s, (struct sockaddr *)&a, sizeof a) || listen(s, 1024)) return 1;
    for (;;) {
        pthread_t t;
        int c = accept(s, 0, 0);
        if (c < 0) continue;
        if (!pthread_create(&t, &small, serve, (void *)(long)c)) pthread_detach(t);
    }
}
