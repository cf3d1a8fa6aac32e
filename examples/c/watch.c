/* A watcher in C: a stock NATS client, with nothing of Watchcast in it. It prints the
 * changes of the keys that match a pattern, says which changes it missed, and then reads
 * the key again. Ctrl-C ends it.
 *
 *     cc -o watch watch.c -lnats            Debian: apt install libnats-dev
 *     ./watch nats://127.0.0.1:4222 'app.>'
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <nats/nats.h>

/* Where each key stands: the last revision seen of it. Chains in buckets. */
struct key {
    struct key *next;
    uint64_t revision;
    int alive;
    char name[];
};

#define BUCKETS 65536

struct watch {
    natsConnection *conn;
    struct key *keys[BUCKETS];
};

static struct key *find(struct watch *w, const char *name) {
    uint32_t h = 2166136261u;
    for (const char *c = name; *c; c++)
        h = (h ^ (unsigned char)*c) * 16777619u;
    struct key **at = &w->keys[h % BUCKETS];
    for (struct key *k = *at; k; k = k->next)
        if (strcmp(k->name, name) == 0)
            return k;
    struct key *k = calloc(1, sizeof *k + strlen(name) + 1);
    if (!k) {
        fprintf(stderr, "watch: no memory\n");
        exit(1);
    }
    strcpy(k->name, name);
    k->next = *at;
    return *at = k;
}

static int number(natsMsg *m, const char *header, uint64_t *value) {
    const char *text;
    char *end;
    if (natsMsgHeader_Get(m, header, &text) != NATS_OK)
        return 0;
    *value = strtoull(text, &end, 10);
    return *text && !*end;
}

/* What is there now, after something was missed. */
static void read_again(struct watch *w, const char *name) {
    natsMsg *reply = NULL;
    const char *error;
    char subject[4096];
    uint64_t revision;
    snprintf(subject, sizeof subject, "kv.get.%s", name);
    natsStatus s = natsConnection_RequestString(&reply, w->conn, subject, "", 2000);
    if (s != NATS_OK)
        fprintf(stderr, "watch: cannot read %s: %s\n", name, natsStatus_GetText(s));
    else if (natsMsgHeader_Get(reply, "Nats-Service-Error", &error) == NATS_OK)
        printf("now %s: %s\n", name, error);
    else if (number(reply, "Watch-Rev", &revision))
        printf("now %s rev %" PRIu64 " %.*s\n", name, revision, natsMsg_GetDataLength(reply), natsMsg_GetData(reply));
    natsMsg_Destroy(reply);
}

static void on_event(natsConnection *conn, natsSubscription *sub, natsMsg *m, void *closure) {
    (void)conn, (void)sub;
    struct watch *w = closure;
    const char *name = natsMsg_GetSubject(m) + strlen("watch.");
    const char *op;
    uint64_t revision, previous;
    if (natsMsgHeader_Get(m, "Watch-Op", &op) != NATS_OK || !number(m, "Watch-Rev", &revision) || !number(m, "Watch-Prev", &previous)) {
        fprintf(stderr, "watch: not an event: %s\n", name);
    } else {
        struct key *k = find(w, name);
        if (revision > k->revision) { /* else a repeat, or late */
            int missed = k->revision && (previous > k->revision || (k->alive && previous == 0));
            printf("%s %s rev %" PRIu64 " %.*s\n", op, name, revision, natsMsg_GetDataLength(m), natsMsg_GetData(m));
            if (missed) {
                printf("missed a change of %s above revision %" PRIu64 "\n", name, k->revision);
                read_again(w, name);
            }
            k->revision = revision;
            k->alive = strcmp(op, "put") == 0;
        }
        fflush(stdout);
    }
    natsMsg_Destroy(m);
}

static void on_reset(natsConnection *conn, natsSubscription *sub, natsMsg *m, void *closure) {
    (void)conn, (void)sub, (void)closure;
    printf("may have missed %.*s\n", natsMsg_GetDataLength(m), natsMsg_GetData(m));
    fflush(stdout);
    natsMsg_Destroy(m);
}

static void on_reconnect(natsConnection *conn, void *closure) {
    (void)conn, (void)closure;
    printf("connected again: changes may have been missed\n");
    fflush(stdout);
}

/* For good: it was refused when it came again. SIGUSR1 is waited for below. */
static void on_closed(natsConnection *conn, void *closure) {
    (void)conn, (void)closure;
    kill(getpid(), SIGUSR1);
}

int main(int argc, char **argv) {
    static struct watch w;
    natsOptions *options = NULL;
    natsSubscription *events = NULL, *resets = NULL;
    char subject[4096];
    sigset_t stop;
    int got;
    if (argc != 3 || strlen(argv[2]) > sizeof subject - sizeof "watch.") {
        fprintf(stderr, "usage: watch URL PATTERN\n");
        return 2;
    }
    /* Before the library starts its threads, which inherit it. */
    sigemptyset(&stop);
    sigaddset(&stop, SIGINT);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGUSR1);
    sigprocmask(SIG_BLOCK, &stop, NULL);

    snprintf(subject, sizeof subject, "watch.%s", argv[2]);
    natsStatus s = natsOptions_Create(&options);
    if (s == NATS_OK)
        s = natsOptions_SetURL(options, argv[1]);
    if (s == NATS_OK)
        s = natsOptions_SetMaxReconnect(options, -1);
    if (s == NATS_OK)
        s = natsOptions_SetReconnectedCB(options, on_reconnect, NULL);
    if (s == NATS_OK)
        s = natsOptions_SetClosedCB(options, on_closed, NULL);
    if (s == NATS_OK)
        s = natsConnection_Connect(&w.conn, options);
    if (s == NATS_OK)
        s = natsConnection_Subscribe(&resets, w.conn, "_watch.reset", on_reset, NULL);
    if (s == NATS_OK)
        s = natsConnection_Subscribe(&events, w.conn, subject, on_event, &w);
    if (s == NATS_OK)
        s = natsConnection_Flush(w.conn); /* the broker has the subscriptions now */
    if (s != NATS_OK) {
        fprintf(stderr, "watch: %s: %s\n", argv[1], natsStatus_GetText(s));
        return 1;
    }
    printf("watching %s\n", subject);
    fflush(stdout);
    sigwait(&stop, &got);
    if (got == SIGUSR1) {
        const char *error = NULL;
        natsConnection_GetLastError(w.conn, &error);
        fprintf(stderr, "watch: the connection is closed: %s\n", error && *error ? error : "it was refused");
    }

    natsSubscription_Destroy(events);
    natsSubscription_Destroy(resets);
    natsConnection_Destroy(w.conn);
    natsOptions_Destroy(options);
    nats_Close();
    return got == SIGUSR1;
}
