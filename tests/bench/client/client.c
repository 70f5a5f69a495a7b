/* The load client of `make bench`: thousands of WebSocket clients in one process and one thread.
 *
 * It is in C because it must use little of the core that it shares with the server: about 4 µs a frame, where
 * asyncio takes 30. Python starts it (client.py), writes commands to its standard input, one a line, and reads
 * one line of JSON for each from its standard output:
 *
 *   start N       connect all clients, at most N at a time           {"live": …}, when all are live
 *   mark          forget all counts; from now on a client is back once it has a new connection
 *   cut rst|fin   end every connection (and mark)
 *   status        the counts since mark
 *   positions     each live client's position in each stream
 *   await N MS    wait until N messages were delivered since the last report, at most MS milliseconds
 *   report        the deliveries since the last report: their delays
 *   gather MS     from now on wait so long between two rounds of reading, so that one read takes several messages
 *   quit
 *
 * Dialects: `sluice` is a client as PROTOCOL.md describes it: positions, back-off, timers, close codes. It
 * connects by WebSocket or by event stream. With a poll path it polls, too, while it has no connection.
 * `plain` counts the messages of any WebSocket; `socketio` answers Socket.IO's packets too.
 *
 * A message that is timed contains #N:T# in any string: N counts up from 1 (0: not counted), T is the sender's
 * CLOCK_MONOTONIC in microseconds. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TICK 5000 /* µs between two looks at the timers */
#define NEVER UINT64_MAX
#define BUFFER (1 << 18)
#define STREAMS 64
#define DELIVERIES (8 << 20)
#define TAG 16

enum dialect { SLUICE, PLAIN, SOCKETIO };
enum transport { WEBSOCKET, EVENTS };
enum state { IDLE, WAITING, CONNECTING, SECURING, HANDSHAKING, OPEN, LIVE, STOPPED, STATES };
static const char *const state_names[] = {"idle",        "waiting", "connecting", "securing",
                                          "handshaking", "open",    "live",       "stopped"};

/* Why an attempt failed, or a connection ended. */
enum reason { REFUSED, RESET, TIMER, SILENCE, STATUS, CLOSED, GAP, BROKEN, CUT, REASONS };
static const char *const reason_names[] = {"refused", "reset", "timer",  "silence", "status",
                                           "closed",  "gap",   "broken", "cut"};

struct stream {
    char *name;
    size_t length;
    uint64_t offset, target; /* target: hello's head */
    uint64_t sent;           /* the last offset that this connection has sent, at first its `since` */
    char tag[TAG + 1];
    bool known;
};

struct poll {
    int fd;
    bool on, sent; /* on: while there is no connection; sent: the request */
    uint64_t begun;
    unsigned failures;
    char *data;
    size_t length;
};

struct client {
    int fd;
    enum state state;
    SSL *tls;
    uint8_t *rest; /* the beginning of a message whose end has not arrived */
    size_t rest_length;
    uint8_t *event; /* of an event stream, likewise */
    size_t event_length, chunk_left;
    bool chunked;
    struct poll poll;
    unsigned attempts_failed; /* in a row */
    char *cookie;
    struct stream *streams;
    int stream_count, behind;
    unsigned failures;               /* the back-off's n */
    uint64_t begun, greeted, quiet;  /* µs: this attempt, its hello, when the server counts as silent */
    uint64_t recalled;               /* the last 4010 */
    uint64_t back, caught;           /* since mark: new connection live; replay complete */
    uint64_t retry_window, ping;     /* µs, from hello */
    uint64_t last;                   /* the last counted message */
    unsigned messages;               /* since the last report */
    bool dropped;                    /* since mark: lost its connection */
};

struct delivery {
    uint32_t delay; /* µs */
    uint32_t at;    /* µs since the last report */
};

static struct {
    struct sockaddr_in server;
    const char *host, *origin, *path, *subprotocol, *agent, *poll_path;
    enum dialect dialect;
    enum transport transport;
    struct in_addr sources[256];
    int source_count;
    SSL_CTX *tls;
    /* PROTOCOL's figures, in µs */
    uint64_t first, longest, far, settle, admission, timer, grace, retry, poll_every;
    bool sees_status;
} options = {
    .host = "localhost", .origin = "http://localhost", .path = "/channels/updates/", .subprotocol = "sluice.v1",
    .dialect = SLUICE,   .first = 500000,              .longest = 10000000,          .far = 30000000,
    .settle = 10000000,  .admission = 10000000, .timer = 5000000,             .grace = 10000000,
    .poll_path = "",     .poll_every = 60000000,
};

static struct client *clients;
static uint64_t *deadlines; /* µs, by client: the next thing that its timer does */
static uint64_t *poll_deadlines; /* µs, by client: the next poll, or the end of patience with one */
static int client_count, epoll_fd;
static int in_progress, parallel, next_to_start; /* of the first connections */
static uint8_t *buffer;
static unsigned random_seed = 1;

static struct {
    uint64_t since, attempts, failed, first_back;
    uint64_t reasons[REASONS];
    uint64_t codes[5000], statuses[600];
    uint64_t updates, doubled, unrecovered, denied, most_in_progress;
    uint64_t worst_lag;
    uint64_t polls, polls_answered, poll_updates, poll_statuses[600];
    struct rusage usage;
} counts;
static uint64_t *poll_times; /* µs, of the polls that were answered */

static struct delivery *deliveries;
static uint64_t delivered, missed, repeated, report_since;
static unsigned gather; /* µs between two rounds of reading */
static uint64_t awaited, awaited_until; /* await's; 0: nothing is awaited */
static struct rusage report_usage;

static uint64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static double between(double low, double high) { return low + (high - low) * (rand_r(&random_seed) / (RAND_MAX + 1.0)); }

static void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static uint64_t cpu_us(const struct rusage *since) {
    struct rusage now;
    getrusage(RUSAGE_SELF, &now);
    return (uint64_t)(now.ru_utime.tv_sec + now.ru_stime.tv_sec - since->ru_utime.tv_sec - since->ru_stime.tv_sec) *
               1000000 +
           now.ru_utime.tv_usec + now.ru_stime.tv_usec - since->ru_utime.tv_usec - since->ru_stime.tv_usec;
}

/* ---- connections */

static void attempt(struct client *client);

static bool is_busy(enum state state) { return state >= CONNECTING && state <= OPEN; }

static void enter(struct client *client, enum state state) {
    if (is_busy(state) != is_busy(client->state)) in_progress += is_busy(state) ? 1 : -1;
    if ((uint64_t)in_progress > counts.most_in_progress) counts.most_in_progress = in_progress;
    client->state = state;
}

static void drop(struct client *client, bool reset) {
    if (client->fd < 0) return;
    if (client->tls) {
        SSL_free(client->tls);
        client->tls = NULL;
    }
    if (reset) {
        struct linger linger = {1, 0};
        setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    }
    close(client->fd);
    client->fd = -1;
    free(client->rest);
    free(client->event);
    client->rest = client->event = NULL;
    client->rest_length = client->event_length = client->chunk_left = 0;
}

/* Full jitter: before attempt n a random time up to first × 2^n. */
static uint64_t backoff(struct client *client) {
    double limit = client->failures < 30 ? (double)options.first * (1u << client->failures) : 1e18;
    client->failures += 1;
    return (uint64_t)between(0, limit < options.longest ? limit : options.longest);
}

/* PROTOCOL: Close codes. Returns the wait in µs, or NEVER. */
static uint64_t wait_after(struct client *client, int code, int status, int64_t retry_after, uint64_t now) {
    bool greeted = client->state == LIVE;
    if (greeted && now - client->greeted >= options.settle) client->failures = 0;
    if (code == 4000 || code == 4001 || code == 4003 || code == 4009) return NEVER;
    if (code == 1012 && greeted) return (uint64_t)between(0, client->retry_window);
    if (code == 4010) {
        bool again = client->recalled && now - client->recalled < options.settle;
        client->recalled = now;
        return again ? backoff(client) : 0;
    }
    if (code == 1013 && retry_after >= 0) return (uint64_t)retry_after; /* its own time, given by the server */
    uint64_t wait = backoff(client);
    if (code == 4013 || status == 429)
        return wait + (retry_after > (int64_t)options.far ? (uint64_t)retry_after : options.far);
    if (status == 503) return wait + (retry_after >= 0 ? (uint64_t)retry_after : options.far);
    return retry_after > (int64_t)wait ? (uint64_t)retry_after : wait;
}

/* ---- polling, see below */

static void poll_after(struct client *client, uint64_t wait) { poll_deadlines[client - clients] = now_us() + wait; }

static void poll_close(struct client *client) {
    if (client->poll.fd >= 0) close(client->poll.fd);
    client->poll.fd = -1;
    free(client->poll.data);
    client->poll.data = NULL;
    client->poll.length = 0;
}

static void poll_stop(struct client *client) {
    poll_close(client);
    client->poll.on = false;
    poll_deadlines[client - clients] = NEVER;
}

/* PROTOCOL: Choosing a transport, and Polling. */
static void poll_unless_on(struct client *client, bool refused) {
    if (!*options.poll_path || client->poll.on || (client->attempts_failed < 2 && !refused)) return;
    uint64_t least = 2000000, spread = client->retry_window > least ? 4 * (client->retry_window - least) : 0;
    client->poll.on = true;
    poll_after(client, (uint64_t)between(0, spread < options.poll_every ? spread : options.poll_every));
}

static bool is_servers_own(int code) {
    return code == 1011 || code == 1012 || code == 1013 || code == 4008 || code == 4010 || code == 4013;
}

static void ended(struct client *client, enum reason reason, int code, int status, int64_t retry_after) {
    uint64_t now = now_us();
    bool was_live = client->state == LIVE;
    counts.reasons[reason] += 1;
    if (reason == CLOSED && code >= 0 && code < 5000) counts.codes[code] += 1;
    if (status > 0 && status < 600) counts.statuses[status] += 1;
    client->attempts_failed = was_live ? 0 : client->attempts_failed + 1;
    if (!was_live) counts.failed += 1;
    client->dropped = true;
    client->back = client->caught = 0;
    /* A browser shows a script no status of a WebSocket. */
    if (!options.sees_status && options.transport == WEBSOCKET) {
        status = 0;
        if (code != 1013) retry_after = -1;
    }
    uint64_t wait = wait_after(client, code, status, retry_after, now);
    drop(client, reason == TIMER || reason == SILENCE || reason == GAP || reason == BROKEN);
    client->greeted = 0;
    enter(client, wait == NEVER ? STOPPED : WAITING);
    deadlines[client - clients] = wait == NEVER ? NEVER : now + wait;
    if (wait == NEVER) poll_stop(client);
    else poll_unless_on(client, !was_live && reason == CLOSED && is_servers_own(code));
}

static void broke(struct client *client, const char *why) {
    fprintf(stderr, "client %d: %s\n", (int)(client - clients), why);
    ended(client, BROKEN, 1006, 0, -1);
}

static void attempt(struct client *client) {
    int on = 1;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0) die("socket: %s", strerror(errno));
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (options.source_count) {
        struct sockaddr_in source = {.sin_family = AF_INET};
        source.sin_addr = options.sources[(client - clients) % options.source_count];
        setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(client->fd, (struct sockaddr *)&source, sizeof source)) die("bind: %s", strerror(errno));
    }
    counts.attempts += 1;
    client->begun = now_us();
    deadlines[client - clients] = client->begun + options.admission;
    enter(client, CONNECTING);
    if (connect(client->fd, (struct sockaddr *)&options.server, sizeof options.server) && errno != EINPROGRESS) {
        if (errno == EADDRNOTAVAIL) die("no local port is left: use more --sources");
        ended(client, REFUSED, 1006, 0, -1);
        return;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = client};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, client->fd, &event);
}

static bool put(struct client *client, const void *data, size_t length) {
    if (client->tls) return SSL_write(client->tls, data, (int)length) == (int)length;
    return send(client->fd, data, length, MSG_NOSIGNAL) == (ssize_t)length;
}

static size_t write_query(struct client *client, char *query, size_t size) {
    size_t at = snprintf(query, size, "?streams=");
    for (int i = 0; i < client->stream_count; i++)
        at += snprintf(query + at, size - at, "%s%s", i ? "," : "", client->streams[i].name);
    bool first = true;
    for (int i = 0; i < client->stream_count; i++) {
        struct stream *stream = &client->streams[i];
        if (!stream->known) continue;
        at += snprintf(query + at, size - at, "%s%s/%llu-%s", first ? "&since=" : ",", stream->name,
                       (unsigned long long)stream->offset, stream->tag);
        first = false;
    }
    return at;
}

static void request(struct client *client) {
    char text[8192 + 64], query[8192] = "";
    char upgrade[512] = "Accept: text/event-stream\r\nSec-Fetch-Site: same-origin\r\n";
    if (options.dialect == SLUICE) write_query(client, query, sizeof query);
    for (int i = 0; i < client->stream_count; i++) client->streams[i].sent = client->streams[i].offset;
    if (options.transport == WEBSOCKET)
        snprintf(upgrade, sizeof upgrade,
                 "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                 "Sec-WebSocket-Version: 13\r\nOrigin: %s\r\n%s%s%s",
                 options.origin, *options.subprotocol ? "Sec-WebSocket-Protocol: " : "", options.subprotocol,
                 *options.subprotocol ? "\r\n" : "");
    int length = snprintf(text, sizeof text,
                          "GET %s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: sluice-bench\r\n%s%s%s%s\r\n", options.path,
                          query, options.host, upgrade, *client->cookie ? "Cookie: " : "", client->cookie,
                          *client->cookie ? "\r\n" : "");
    if (length >= (int)sizeof text) die("a request of %d bytes", length);
    if (!put(client, text, length)) {
        ended(client, RESET, 1006, 0, -1);
        return;
    }
    enter(client, HANDSHAKING);
}

/* Masked with zeros, which the standard allows and which leaves the payload as it is. */
static bool send_frame(struct client *client, int opcode, const void *payload, size_t length) {
    uint8_t frame[6 + 125] = {0x80 | opcode, 0x80 | length};
    if (length > 125) length = 125;
    memcpy(frame + 6, payload, length);
    return put(client, frame, 6 + length);
}

/* ---- what arrives */

static void live(struct client *client) {
    uint64_t now = now_us();
    enter(client, LIVE);
    poll_stop(client);
    client->greeted = now;
    client->back = now;
    if (!counts.first_back) counts.first_back = now;
    if (!client->behind) client->caught = now;
    deadlines[client - clients] = client->ping ? now + client->ping + options.grace : NEVER;
}

/* The number after "key": in the text, or `missing`. */
static int64_t number_of(const char *text, const char *end, const char *key, int64_t missing) {
    const char *found = memmem(text, end - text, key, strlen(key));
    if (!found) return missing;
    found += strlen(key);
    while (found < end && (*found == ' ' || *found == ':')) found++;
    return found < end && *found >= '0' && *found <= '9' ? strtoll(found, NULL, 10) : missing;
}

/* OFFSET-TAG, quoted. */
static bool read_position(const char *text, const char *end, uint64_t *offset, char *tag) {
    while (text < end && (*text == ' ' || *text == ':' || *text == '"')) text++;
    char *after;
    *offset = strtoull(text, &after, 10);
    if (after >= end || *after != '-') return false;
    size_t length = 0;
    for (after++; after + length < end && length < TAG && after[length] != '"'; length++) tag[length] = after[length];
    tag[length] = 0;
    return length > 0;
}

/* The streams' states, of hello or of a poll. */
static bool states(struct client *client, const char *text, const char *end) {
    client->behind = 0;
    for (int i = 0; i < client->stream_count; i++) {
        struct stream *stream = &client->streams[i];
        char key[256], tag[TAG + 1];
        uint64_t head;
        int length = snprintf(key, sizeof key, "\"%s\"", stream->name);
        const char *found = memmem(text, end - text, key, length);
        if (!found) return false;
        const char *close = memchr(found, '}', end - found);
        if (!close) return false;
        if (memmem(found, close - found, "\"denied\"", 8)) {
            counts.denied += 1;
            continue;
        }
        const char *at = memmem(found, close - found, "\"head\"", 6);
        if (!at || !read_position(at + 6, close, &head, tag)) return false;
        const char *recovered = memmem(found, close - found, "\"recovered\"", 11);
        bool is_recovered = recovered && memmem(recovered, close - recovered, "true", 4);
        if (stream->known && recovered && is_recovered) {
            stream->target = head;
            if (head > stream->sent) client->behind += 1;
            continue;
        }
        if (stream->known) counts.unrecovered += 1;
        stream->known = true;
        stream->offset = stream->target = stream->sent = head;
        memcpy(stream->tag, tag, sizeof tag);
    }
    return true;
}

static bool hello(struct client *client, const char *text, const char *end) {
    if (!states(client, text, end)) return false;
    client->ping = (uint64_t)number_of(text, end, "\"ping\"", 25) * 1000000;
    client->retry_window = (uint64_t)number_of(text, end, "\"retry\"", 2000) * 1000;
    if (options.retry) client->retry_window = options.retry;
    live(client);
    return true;
}

static struct stream *stream_of(struct client *client, const char *name, const char *end) {
    for (int i = 0; i < client->stream_count; i++) {
        struct stream *stream = &client->streams[i];
        if ((size_t)(end - name) > stream->length && !memcmp(name, stream->name, stream->length) &&
            name[stream->length] == '"')
            return stream;
    }
    return NULL;
}

static const char *last_of(const char *text, const char *end, const char *key) {
    size_t length = strlen(key);
    for (const char *at = end - length; at >= text; at--)
        if (*at == *key && !memcmp(at, key, length)) return at + length;
    return NULL;
}

/* An update of one of the streams. Returns false on a gap. `polled`: it came by a poll. */
static bool update(struct client *client, const char *text, const char *end, const char *position, bool polled) {
    uint64_t offset;
    char tag[TAG + 1];
    const char *name = last_of(text, position, "\"stream\"");
    if (!name || !read_position(position, end, &offset, tag)) return true;
    while (name < end && (*name == ' ' || *name == ':' || *name == '"')) name++;
    struct stream *stream = stream_of(client, name, end);
    if (!stream) return true;
    counts.updates += 1;
    counts.poll_updates += polled;
    /* What a poll brought while this connection was being opened arrives again, and is dropped. */
    if (offset <= (polled ? stream->offset : stream->sent)) {
        counts.doubled += 1;
        return true;
    }
    if (offset > (polled ? stream->offset : stream->sent) + 1) return false;
    if (!polled) stream->sent = offset;
    if (offset > stream->offset) {
        stream->offset = offset;
        memcpy(stream->tag, tag, sizeof tag);
    }
    if (client->behind && offset == stream->target && --client->behind == 0) client->caught = now_us();
    return true;
}

static void timed(struct client *client, const char *text, const char *end, uint64_t now) {
    const char *mark = memchr(text, '#', end - text);
    if (!mark) return;
    char *after;
    uint64_t number = strtoull(mark + 1, &after, 10);
    if (*after != ':') return;
    uint64_t sent = strtoull(after + 1, NULL, 10);
    if (number) {
        if (client->last && number > client->last + 1) missed += number - client->last - 1;
        if (client->last && number <= client->last) repeated += 1;
        if (number > client->last) client->last = number;
    }
    client->messages += 1;
    if (delivered < DELIVERIES) deliveries[delivered] = (struct delivery){now - sent, now - report_since};
    delivered += 1;
}

/* A text message. Returns false if the connection is over. The text ends with a byte that isn't its own. */
static bool message(struct client *client, const char *text, size_t length, uint64_t now) {
    const char *end = text + length;
    if (options.dialect == SOCKETIO) {
        if (length && *text == '2') return send_frame(client, 1, "3", 1);
        if (length && *text == '0') return send_frame(client, 1, "40", 2);
        if (length > 1 && text[0] == '4' && text[1] == '0') live(client);
    } else if (options.dialect == SLUICE) {
        if (client->state == OPEN) {
            if (memmem(text, length < 40 ? length : 40, "\"hello\"", 7) && hello(client, text, end)) return true;
            broke(client, "a first frame that is no hello");
            return false;
        }
        deadlines[client - clients] = now + client->ping + options.grace;
        const char *position = last_of(text, end, "\"position\"");
        if (position && !update(client, text, end, position, false)) {
            ended(client, GAP, 1006, 0, -1);
            return false;
        }
    }
    timed(client, text, end, now);
    return true;
}

/* One frame at `data`. Returns its length, 0 if it isn't complete, -1 if the connection is over. */
static ssize_t frame(struct client *client, uint8_t *data, size_t available, uint64_t now) {
    if (available < 2) return 0;
    size_t head = 2, length = data[1] & 0x7f;
    if (length == 126) {
        if (available < 4) return 0;
        length = data[2] << 8 | data[3];
        head = 4;
    } else if (length == 127) {
        if (available < 10) return 0;
        length = 0;
        for (int i = 2; i < 10; i++) length = length << 8 | data[i];
        head = 10;
    }
    if (available < head + length) return 0;
    uint8_t *payload = data + head, kept = payload[length];
    switch (data[0] & 0x0f) {
        case 1:
            payload[length] = 0;
            if (!message(client, (char *)payload, length, now)) return -1;
            payload[length] = kept;
            break;
        case 8: {
            int code = length >= 2 ? payload[0] << 8 | payload[1] : 1005;
            int64_t after = -1;
            if (length > 8 && !memcmp(payload + 2, "retry=", 6)) {
                payload[length] = 0;
                after = (int64_t)strtoull((char *)payload + 8, NULL, 10) * 1000;
                payload[length] = kept;
            }
            send_frame(client, 8, payload, length < 2 ? 0 : 2);
            ended(client, CLOSED, code, 0, after);
            return -1;
        }
        case 9: send_frame(client, 10, payload, length); break;
        case 2: case 10: break;
        default: broke(client, "an unexpected opcode"); return -1;
    }
    return head + length;
}

/* The response to the handshake. Returns as frame() does. */
static ssize_t response(struct client *client, uint8_t *data, size_t available) {
    uint8_t *end = memmem(data, available, "\r\n\r\n", 4);
    if (!end) return available > 8192 ? (broke(client, "an endless response"), -1) : 0;
    int status = available > 12 ? atoi((char *)data + 9) : 0;
    *end = 0;
    if (status != (options.transport == EVENTS ? 200 : 101)) {
        int64_t after = -1;
        const char *header = strcasestr((char *)data, "\nRetry-After:");
        if (header) after = strtoll(header + 13, NULL, 10) * 1000000;
        ended(client, STATUS, status == 429 ? 4013 : 1006, status, after);
        return -1;
    }
    enter(client, OPEN);
    deadlines[client - clients] = now_us() + options.timer;
    if (options.dialect == PLAIN) live(client);
    client->chunked = options.transport == EVENTS && strcasestr((char *)data, "\nTransfer-Encoding: chunked");
    return end + 4 - data;
}

/* One event of an event stream, with its last newline. Returns false if the connection is over. */
static bool event(struct client *client, char *text, size_t length, uint64_t now) {
    bool is_close = false;
    char *data = NULL, *data_end = NULL;
    for (char *line = text, *end; line < text + length; line = end + 1) {
        end = memchr(line, '\n', text + length - line);
        if (!end) break;
        if (end - line > 6 && !memcmp(line, "data: ", 6)) {
            data = line + 6;
            data_end = end;
        }
        if (end - line >= 12 && !memcmp(line, "event: close", 12)) is_close = true;
    }
    if (!data) return true;
    *data_end = 0;
    if (is_close) {
        int64_t after = number_of(data, data_end, "\"retry\"", -1);
        ended(client, CLOSED, (int)number_of(data, data_end, "\"code\"", 1005), 0, after < 0 ? -1 : after * 1000);
        return false;
    }
    return message(client, data, data_end - data, now);
}

/* Bytes of an event stream. Returns false if the connection is over. */
static bool events(struct client *client, const uint8_t *data, size_t length, uint64_t now) {
    client->event = realloc(client->event, client->event_length + length);
    memcpy(client->event + client->event_length, data, length);
    client->event_length += length;
    uint8_t *begin = client->event, *all = begin + client->event_length, *end;
    while ((end = memmem(begin, all - begin, "\n\n", 2))) {
        if (!event(client, (char *)begin, end + 1 - begin, now)) return false;
        begin = end + 2;
    }
    client->event_length = all - begin;
    memmove(client->event, begin, client->event_length);
    if (!client->event_length) {
        free(client->event);
        client->event = NULL;
    }
    return true;
}

/* A part of the body. Returns as frame() does. */
static ssize_t body(struct client *client, uint8_t *data, size_t available, uint64_t now) {
    if (!client->chunked) return events(client, data, available, now) ? (ssize_t)available : -1;
    if (!client->chunk_left) {
        uint8_t *end = memmem(data, available, "\r\n", 2);
        if (!end) return available > 64 ? (broke(client, "a chunk without a length"), -1) : 0;
        size_t length = strtoul((char *)data, NULL, 16);
        if (!length) {
            ended(client, RESET, 1006, 0, -1);
            return -1;
        }
        client->chunk_left = length + 2; /* with the newline after it */
        return end + 2 - data;
    }
    size_t taken = available < client->chunk_left ? available : client->chunk_left;
    size_t content = client->chunk_left > 2 ? client->chunk_left - 2 : 0;
    client->chunk_left -= taken;
    return events(client, data, taken < content ? taken : content, now) ? (ssize_t)taken : -1;
}

static void consume(struct client *client, uint8_t *data, size_t length, uint64_t now) {
    size_t at = 0;
    while (at < length) {
        ssize_t taken = client->state == HANDSHAKING      ? response(client, data + at, length - at)
                        : options.transport == WEBSOCKET ? frame(client, data + at, length - at, now)
                                                         : body(client, data + at, length - at, now);
        if (taken < 0) return;
        if (!taken) break;
        at += taken;
    }
    if (at == length && !client->rest) return;
    uint8_t *rest = at == length ? NULL : malloc(length - at);
    if (rest) memcpy(rest, data + at, length - at);
    free(client->rest);
    client->rest = rest;
    client->rest_length = length - at;
}

static void readable(struct client *client) {
    do {
        ssize_t got;
        size_t before = client->rest_length;
        memcpy(buffer, client->rest, before);
        if (client->tls) {
            got = SSL_read(client->tls, buffer + before, BUFFER - before - 1);
            if (got <= 0 && SSL_get_error(client->tls, (int)got) == SSL_ERROR_WANT_READ) return;
        } else {
            got = recv(client->fd, buffer + before, BUFFER - before - 1, 0);
            if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
        }
        if (got <= 0) {
            ended(client, RESET, 1006, 0, -1);
            return;
        }
        consume(client, buffer, before + got, now_us());
    } while (client->fd >= 0 && client->tls);
}

static void secure(struct client *client) {
    int done = SSL_connect(client->tls);
    if (done == 1) {
        request(client);
        return;
    }
    int error = SSL_get_error(client->tls, done);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) ended(client, RESET, 1006, 0, -1);
}

static void connected(struct client *client) {
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error) {
        ended(client, REFUSED, 1006, 0, -1);
        return;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, client->fd, &event);
    if (!options.tls) {
        request(client);
        return;
    }
    client->tls = SSL_new(options.tls);
    SSL_set_fd(client->tls, client->fd);
    SSL_set_tlsext_host_name(client->tls, "localhost");
    enter(client, SECURING);
    secure(client);
}

static void happened(struct client *client, uint32_t events) {
    if (client->fd < 0) return;
    if (client->state == CONNECTING) {
        if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) connected(client);
    } else if (client->state == SECURING) {
        secure(client);
    } else {
        readable(client);
    }
}

/* ---- polling */

static void poll_ended(struct client *client, int status, int64_t retry_after) {
    struct poll *poll = &client->poll;
    if (status > 0 && status < 600) counts.poll_statuses[status] += 1;
    poll_close(client);
    double limit = poll->failures < 30 ? 500000.0 * (1u << poll->failures) : 1e18;
    limit = limit < 20000000 ? limit : 20000000;
    poll->failures += 1;
    uint64_t asked = status == 429 ? options.far : 0;
    if (retry_after > (int64_t)asked) asked = (uint64_t)retry_after;
    poll_after(client, asked + (uint64_t)between(0, limit < options.poll_every ? limit : options.poll_every));
}

static void poll_begin(struct client *client) {
    struct poll *poll = &client->poll;
    if (poll->fd >= 0) { /* the last one is not answered */
        poll_ended(client, 0, -1);
        return;
    }
    poll->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (poll->fd < 0) die("socket: %s", strerror(errno));
    poll->begun = now_us();
    poll->sent = false;
    counts.polls += 1;
    poll_after(client, 120000000);
    if (connect(poll->fd, (struct sockaddr *)&options.server, sizeof options.server) && errno != EINPROGRESS) {
        poll_ended(client, 0, -1);
        return;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = (void *)((uintptr_t)client | 1)};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, poll->fd, &event);
}

static void poll_send(struct client *client) {
    char text[8192 + 64], query[8192];
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(client->poll.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    write_query(client, query, sizeof query);
    int length = snprintf(text, sizeof text,
                          "GET %s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: sluice-bench\r\nAccept: application/json\r\n"
                          "Connection: close\r\nCookie: %s\r\n\r\n",
                          options.poll_path, query, options.host, client->cookie);
    if (error || send(client->poll.fd, text, length, MSG_NOSIGNAL) != length) {
        poll_ended(client, 0, -1);
        return;
    }
    client->poll.sent = true;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = (void *)((uintptr_t)client | 1)};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, client->poll.fd, &event);
}

/* The whole response. */
static void poll_answered(struct client *client) {
    struct poll *poll = &client->poll;
    char *end = poll->data + poll->length, *content = memmem(poll->data, poll->length, "\r\n\r\n", 4);
    int status = poll->length > 12 ? atoi(poll->data + 9) : 0;
    if (status != 200 || !content) {
        const char *header = content ? strcasestr(poll->data, "\nRetry-After:") : NULL;
        poll_ended(client, status, header && header < content ? strtoll(header + 13, NULL, 10) * 1000000 : -1);
        return;
    }
    char *updates = memmem(content, end - content, "\"updates\"", 9);
    if (!updates || !states(client, content, updates)) {
        poll_ended(client, 0, -1);
        return;
    }
    client->behind = 0; /* of the connection that is to come */
    for (char *at = updates, *position; (position = memmem(at, end - at, "\"position\"", 10)); at = position + 10)
        if (!update(client, at, end, position + 10, true)) {
            poll_ended(client, 0, -1);
            return;
        }
    bool more = memmem(end > updates + 16 ? end - 16 : updates, 16, "true", 4);
    poll_times[counts.polls_answered++ % DELIVERIES] = now_us() - poll->begun;
    counts.poll_statuses[200] += 1;
    poll->failures = 0;
    poll_close(client);
    poll_after(client, more ? 0 : (uint64_t)between(0.9 * options.poll_every, 1.1 * options.poll_every));
}

static void poll_happened(struct client *client, uint32_t happened) {
    struct poll *poll = &client->poll;
    if (poll->fd < 0) return;
    if (!poll->sent) {
        if (happened & (EPOLLOUT | EPOLLERR | EPOLLHUP)) poll_send(client);
        return;
    }
    ssize_t got = recv(poll->fd, buffer, BUFFER, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got > 0) {
        poll->data = realloc(poll->data, poll->length + got + 1);
        memcpy(poll->data + poll->length, buffer, got);
        poll->length += got;
        poll->data[poll->length] = 0;
        return;
    }
    if (got < 0 || !poll->length) poll_ended(client, 0, -1);
    else poll_answered(client);
}

static void timers(uint64_t now) {
    for (int i = 0; i < client_count; i++)
        if (poll_deadlines[i] <= now) poll_begin(&clients[i]);
    for (int i = 0; i < client_count; i++) {
        if (deadlines[i] > now) continue;
        struct client *client = &clients[i];
        if (client->state == WAITING) attempt(client);
        else if (client->state == LIVE) ended(client, SILENCE, 1006, 0, -1);
        else if (is_busy(client->state)) ended(client, TIMER, 1006, 0, -1);
        else deadlines[i] = NEVER;
    }
    while (next_to_start < client_count && in_progress < parallel) {
        struct client *client = &clients[next_to_start++];
        if (client->state == IDLE) attempt(client);
    }
}

/* ---- commands */

static void mark(void) {
    memset(&counts, 0, sizeof counts);
    counts.since = now_us();
    getrusage(RUSAGE_SELF, &counts.usage);
    for (int i = 0; i < client_count; i++) {
        clients[i].back = clients[i].caught = 0;
        clients[i].dropped = false;
    }
}

static void cut(bool reset) {
    mark();
    for (int i = 0; i < client_count; i++) {
        if (clients[i].state != LIVE) continue;
        drop(&clients[i], reset);
        ended(&clients[i], CUT, 1006, 0, -1);
    }
}

static int by_value(const void *a, const void *b) {
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static double share(const uint64_t *sorted, size_t count, double part) {
    if (!count) return 0;
    size_t index = (size_t)(part * count + 0.999999);
    return sorted[index ? index - 1 : 0] / 1000.0;
}

static void print_times(const char *name, uint64_t *values, size_t count) {
    qsort(values, count, sizeof *values, by_value);
    printf("\"%s\": {\"count\": %zu, \"first\": %.3f, \"p50\": %.3f, \"p95\": %.3f, \"p99\": %.3f, \"last\": %.3f}, ", name,
           count, count ? values[0] / 1000.0 : 0.0, share(values, count, 0.5), share(values, count, 0.95),
           share(values, count, 0.99), count ? values[count - 1] / 1000.0 : 0.0);
}

static void print_counts(const char *name, const uint64_t *values, int count, const char *const *names) {
    bool first = true;
    printf("\"%s\": {", name);
    for (int i = 0; i < count; i++) {
        if (!values[i]) continue;
        if (names) printf("%s\"%s\": %llu", first ? "" : ", ", names[i], (unsigned long long)values[i]);
        else printf("%s\"%d\": %llu", first ? "" : ", ", i, (unsigned long long)values[i]);
        first = false;
    }
    printf("}, ");
}

static void status(void) {
    uint64_t states[STATES] = {0}, now = now_us(), polling = 0;
    uint64_t *back = calloc(client_count, sizeof *back), *caught = calloc(client_count, sizeof *caught);
    size_t back_count = 0, caught_count = 0, dropped = 0;
    for (int i = 0; i < client_count; i++) {
        states[clients[i].state] += 1;
        polling += clients[i].poll.on;
        dropped += clients[i].dropped;
        if (clients[i].back) back[back_count++] = clients[i].back - counts.since;
        if (clients[i].caught) caught[caught_count++] = clients[i].caught - counts.since;
    }
    printf("{");
    print_counts("states", states, STATES, state_names);
    print_times("back", back, back_count);
    print_times("caught_up", caught, caught_count);
    print_counts("ends", counts.reasons, REASONS, reason_names);
    print_counts("closes", counts.codes, 5000, NULL);
    print_counts("statuses", counts.statuses, 600, NULL);
    print_counts("poll_statuses", counts.poll_statuses, 600, NULL);
    print_times("poll_times", poll_times, counts.polls_answered < DELIVERIES ? counts.polls_answered : DELIVERIES);
    printf("\"polling\": %llu, \"polls\": %llu, \"poll_updates\": %llu, ", (unsigned long long)polling,
           (unsigned long long)counts.polls, (unsigned long long)counts.poll_updates);
    printf("\"clients\": %d, \"dropped\": %zu, \"attempts\": %llu, \"failed\": %llu, \"most_in_progress\": %llu, "
           "\"updates\": %llu, \"doubled\": %llu, \"unrecovered\": %llu, \"denied\": %llu, "
           "\"seconds\": %.6f, \"cpu\": %.6f, \"worst_lag\": %.3f}\n",
           client_count, dropped, (unsigned long long)counts.attempts, (unsigned long long)counts.failed,
           (unsigned long long)counts.most_in_progress, (unsigned long long)counts.updates,
           (unsigned long long)counts.doubled, (unsigned long long)counts.unrecovered,
           (unsigned long long)counts.denied, (now - counts.since) / 1e6, cpu_us(&counts.usage) / 1e6,
           counts.worst_lag / 1000.0);
    free(back);
    free(caught);
}

static void positions(void) {
    printf("[");
    for (int i = 0; i < client_count; i++) {
        printf("%s{", i ? ", " : "");
        for (int j = 0; clients[i].state == LIVE && j < clients[i].stream_count; j++) {
            struct stream *stream = &clients[i].streams[j];
            printf("%s\"%s\": \"%llu-%s\"", j ? ", " : "", stream->name, (unsigned long long)stream->offset,
                   stream->known ? stream->tag : "?");
        }
        printf("}");
    }
    printf("]\n");
}

static void report(void) {
    size_t count = delivered < DELIVERIES ? delivered : DELIVERIES;
    uint64_t *delays = malloc((count + 1) * sizeof *delays), *times = malloc((count + 1) * sizeof *times);
    for (size_t i = 0; i < count; i++) {
        delays[i] = deliveries[i].delay;
        times[i] = deliveries[i].at;
    }
    unsigned fewest = client_count ? UINT32_MAX : 0, most = 0;
    for (int i = 0; i < client_count; i++) {
        if (clients[i].messages < fewest) fewest = clients[i].messages;
        if (clients[i].messages > most) most = clients[i].messages;
        clients[i].messages = 0;
    }
    printf("{");
    print_times("delay", delays, count);
    print_times("at", times, count);
    printf("\"delivered\": %llu, \"fewest\": %u, \"most\": %u, \"missed\": %llu, \"doubled\": %llu, "
           "\"seconds\": %.6f, \"cpu\": %.6f}\n",
           (unsigned long long)delivered, fewest, most, (unsigned long long)missed, (unsigned long long)repeated,
           (now_us() - report_since) / 1e6, cpu_us(&report_usage) / 1e6);
    free(delays);
    free(times);
    delivered = missed = repeated = 0;
    report_since = now_us();
    getrusage(RUSAGE_SELF, &report_usage);
}

static void answer_await(uint64_t now) {
    if (!awaited_until || (delivered < awaited && now < awaited_until)) return;
    printf("{\"delivered\": %llu}\n", (unsigned long long)delivered);
    fflush(stdout);
    awaited_until = 0;
}

static void command(char *line) {
    unsigned long long number, limit;
    if (sscanf(line, "await %llu %llu", &number, &limit) == 2) {
        awaited = number;
        awaited_until = now_us() + limit * 1000;
        return;
    }
    if (!strncmp(line, "start ", 6)) parallel = atoi(line + 6);
    else if (!strncmp(line, "gather ", 7)) gather = 1000 * (unsigned)atoi(line + 7);
    else if (!strcmp(line, "mark")) mark();
    else if (!strcmp(line, "cut rst") || !strcmp(line, "cut fin")) cut(line[4] == 'r');
    else if (!strcmp(line, "status")) { status(); fflush(stdout); return; }
    else if (!strcmp(line, "positions")) { positions(); fflush(stdout); return; }
    else if (!strcmp(line, "report")) { report(); fflush(stdout); return; }
    else if (!strcmp(line, "quit")) exit(0);
    else die("unknown command: %s", line);
    printf("{}\n");
    fflush(stdout);
}

static void commands(void) {
    static char text[4096];
    static size_t length;
    ssize_t got = read(0, text + length, sizeof text - length - 1);
    if (got == 0) exit(0);
    if (got < 0) return;
    length += got;
    text[length] = 0;
    char *begin = text, *end;
    while ((end = strchr(begin, '\n'))) {
        *end = 0;
        command(begin);
        begin = end + 1;
    }
    length -= begin - text;
    memmove(text, begin, length + 1);
}

/* ---- start */

static void read_clients(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) die("%s: %s", path, strerror(errno));
    char *line = NULL;
    size_t size = 0;
    ssize_t length;
    int room = 0;
    while ((length = getline(&line, &size, file)) > 0) {
        if (line[length - 1] == '\n') line[--length] = 0;
        if (client_count == room) {
            room = room ? 2 * room : 1024;
            clients = realloc(clients, room * sizeof *clients);
        }
        struct client *client = &clients[client_count++];
        *client = (struct client){.fd = -1, .poll.fd = -1, .cookie = strdup(line), .streams = calloc(STREAMS, sizeof(struct stream))};
        char *names = strchr(client->cookie, '\t');
        if (!names) die("%s: a line without a tab", path);
        *names++ = 0;
        for (char *name = strtok(names, ","); name; name = strtok(NULL, ",")) {
            if (client->stream_count == STREAMS) die("more than %d streams", STREAMS);
            struct stream *stream = &client->streams[client->stream_count++];
            stream->name = name;
            stream->length = strlen(name);
        }
    }
    free(line);
    fclose(file);
    deadlines = malloc(client_count * sizeof *deadlines);
    poll_deadlines = malloc(client_count * sizeof *poll_deadlines);
    for (int i = 0; i < client_count; i++) deadlines[i] = poll_deadlines[i] = NEVER;
}

static uint64_t milliseconds(const char *text) { return (uint64_t)(atof(text) * 1000); }

static void read_options(int count, char **values) {
    for (int i = 1; i + 1 < count; i += 2) {
        const char *name = values[i], *value = values[i + 1];
        if (!strcmp(name, "--address")) inet_pton(AF_INET, value, &options.server.sin_addr);
        else if (!strcmp(name, "--port")) options.server.sin_port = htons(atoi(value));
        else if (!strcmp(name, "--host")) options.host = value;
        else if (!strcmp(name, "--origin")) options.origin = value;
        else if (!strcmp(name, "--path")) options.path = value;
        else if (!strcmp(name, "--subprotocol")) options.subprotocol = value;
        else if (!strcmp(name, "--clients")) read_clients(value);
        else if (!strcmp(name, "--seed")) random_seed = atoi(value);
        else if (!strcmp(name, "--dialect"))
            options.dialect = !strcmp(value, "sluice") ? SLUICE : !strcmp(value, "socketio") ? SOCKETIO : PLAIN;
        else if (!strcmp(name, "--backoff-first")) options.first = milliseconds(value);
        else if (!strcmp(name, "--backoff-longest")) options.longest = milliseconds(value);
        else if (!strcmp(name, "--far")) options.far = milliseconds(value);
        else if (!strcmp(name, "--settle")) options.settle = milliseconds(value);
        else if (!strcmp(name, "--admission")) options.admission = milliseconds(value);
        else if (!strcmp(name, "--timer")) options.timer = milliseconds(value);
        else if (!strcmp(name, "--grace")) options.grace = milliseconds(value);
        else if (!strcmp(name, "--retry")) options.retry = milliseconds(value);
        else if (!strcmp(name, "--poll-every")) options.poll_every = milliseconds(value);
        else if (!strcmp(name, "--poll-path")) options.poll_path = value;
        else if (!strcmp(name, "--transport")) options.transport = !strcmp(value, "sse") ? EVENTS : WEBSOCKET;
        else if (!strcmp(name, "--sees-status")) options.sees_status = !strcmp(value, "yes");
        else if (!strcmp(name, "--tls")) {
            if (strcmp(value, "yes")) continue;
            options.tls = SSL_CTX_new(TLS_client_method());
            SSL_CTX_set_mode(options.tls, SSL_MODE_RELEASE_BUFFERS);
        } else if (!strcmp(name, "--sources")) {
            char *list = strdup(value);
            for (char *one = strtok(list, ","); one && options.source_count < 256; one = strtok(NULL, ","))
                if (inet_pton(AF_INET, one, &options.sources[options.source_count]) == 1) options.source_count++;
        } else die("unknown option: %s", name);
    }
    options.server.sin_family = AF_INET;
    if (!client_count || !options.server.sin_port) die("--clients, --address and --port are needed");
}

int main(int count, char **values) {
    struct rlimit files;
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    buffer = malloc(BUFFER);
    deliveries = malloc(DELIVERIES * sizeof *deliveries);
    poll_times = malloc(DELIVERIES * sizeof *poll_times);
    read_options(count, values);
    if (files.rlim_cur < (rlim_t)client_count + 16) die("%d clients need more open files than %d", client_count, (int)files.rlim_cur);
    struct epoll_event input = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, 0, &input);
    mark();
    report_since = now_us();
    getrusage(RUSAGE_SELF, &report_usage);
    uint64_t next = now_us() + TICK;
    for (;;) {
        struct epoll_event events[512];
        uint64_t now = now_us();
        int wait = now >= next ? 0 : (int)((next - now + 999) / 1000);
        int ready = epoll_wait(epoll_fd, events, 512, wait);
        for (int i = 0; i < ready; i++) {
            uintptr_t who = (uintptr_t)events[i].data.ptr;
            if (who & 1) poll_happened((struct client *)(who - 1), events[i].events);
            else if (who) happened(events[i].data.ptr, events[i].events);
            else commands();
        }
        if (gather && ready) usleep(gather);
        now = now_us();
        answer_await(now);
        if (now < next) continue;
        if (now - next > counts.worst_lag) counts.worst_lag = now - next;
        next = now + TICK;
        timers(now);
    }
}
