/*
 * A client of the key-value store with what rpcgen makes of docs/kv.x: every procedure once or more, and what each is answered.
 *
 *     make                        rpcgen and libtirpc; Debian: gcc, make, rpcsvc-proto, libtirpc-dev
 *     ./kv 127.0.0.1 9001         with `./kv HOST` rpcbind says which port it is
 *
 * Exit code: 0 every call was answered, 1 one was not, 2 wrong usage, or nobody is there.
 */
#include "kv.h"
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

typedef unsigned long long version;
static const char *const names[] = { "KV_OK", "KV_NOT_FOUND", "KV_VERSION_MISMATCH", "KV_NOT_PRIMARY", "KV_NO_QUORUM", "KV_BEHIND",
    "KV_BUSY", "KV_INVALID", "KV_TOO_LARGE", "KV_CONFLICT", "KV_FORBIDDEN" };
static CLIENT *server;

/* Prints the status; ends the program where there is none, since the call was lost or refused as a call (AUTH_TOOWEAK). */
static void show(const char *what, enum clnt_stat rpc, const kv_status *status)
{
    if (rpc != RPC_SUCCESS) {
        clnt_perror(server, what);
        exit(1);
    }
    printf("%s: %s", what, (unsigned)*status < sizeof names / sizeof *names ? names[*status] : "a status of which kv.x knows nothing");
}

/* Returns the version that a write has made, or that has kept it from being done. */
static version written(const char *what, enum clnt_stat rpc, const kv_write_res *result)
{
    version is = result->status == KV_OK ? result->kv_write_res_u.new_version : result->kv_write_res_u.current_version;
    show(what, rpc, &result->status);
    if (result->status == KV_OK || result->status == KV_VERSION_MISMATCH)
        printf(", version %llu", is);
    printf("\n");
    return is;
}

static version put(const char *what, const char *key, const char *value, kv_condition condition, version expected)
{
    kv_put_args args = { "", { strlen(key), (char *)key }, { strlen(value), (char *)value }, condition, expected };
    kv_write_res result = { 0 };
    if (getrandom(args.request_id, sizeof args.request_id, 0) != sizeof args.request_id) /* sent again with it, it is done once */
        exit(2);
    return written(what, kv_put_1(args, &result, server), &result);
}

static void get(const char *key)
{
    kv_get_res result = { 0 };
    kv_get_ok *found = &result.kv_get_res_u.found;
    show("GET", kv_get_1((kv_get_args){ { strlen(key), (char *)key }, 0 }, &result, server), &result.status);
    if (result.status == KV_OK)
        printf(", version %llu, value %.*s", (version)found->key_version, (int)found->value.kv_value_len, found->value.kv_value_val);
    printf("\n");
    xdr_free((xdrproc_t)xdr_kv_get_res, &result); /* what the stub has allocated */
}

static void scan(const char *prefix, unsigned limit)
{
    kv_scan_res result = { 0 };
    kv_scan_ok *page = &result.kv_scan_res_u.page;
    show("SCAN", kv_scan_1((kv_scan_args){ { 0, "" }, { strlen(prefix), (char *)prefix }, limit, 0 }, &result, server), &result.status);
    printf("%s\n", result.status != KV_OK ? "" : page->more ? ", and there are more" : ", and these are all");
    for (unsigned at = 0; result.status == KV_OK && at < page->entries.entries_len; at++) {
        kv_scan_entry *entry = &page->entries.entries_val[at];
        printf("  %.*s, version %llu, %u bytes\n", (int)entry->key.kv_key_len, entry->key.kv_key_val, (version)entry->key_version, entry->value_bytes);
    }
    xdr_free((xdrproc_t)xdr_kv_scan_res, &result);
}

int main(int count, char **words)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *at = NULL;
    kv_write_res gone = { 0 };
    kv_status_res status = { 0 };
    kv_status_ok *node = &status.kv_status_res_u.node;
    version first;
    if (count == 2) {
        server = clnt_create(words[1], KV_PROG, KV_VERS, "tcp");
    } else if (count == 3 && getaddrinfo(words[1], words[2], &hints, &at) == 0) {
        int connection = socket(at->ai_family, SOCK_STREAM, 0);
        struct netbuf address = { at->ai_addrlen, at->ai_addrlen, at->ai_addr };
        server = connect(connection, at->ai_addr, at->ai_addrlen) ? NULL : clnt_vc_create(connection, &address, KV_PROG, KV_VERS, 0, 0);
    }
    if (!server) {
        fprintf(stderr, "usage: kv HOST [PORT], where a server with --kv-port listens\n");
        return 2;
    }
    server->cl_auth = authunix_create_default(); /* a server with a users file wants to know who asks */
    if (kv_null_1(NULL, server) == RPC_SUCCESS)
        printf("NULL: answered\n");
    first = put("PUT", "colour", "green", KV_ALWAYS, 0);
    get("colour");
    put("compare and set", "colour", "red", KV_IF_VERSION, first);
    put("compare and set", "colour", "blue", KV_IF_VERSION, first);
    put("PUT if absent", "shape", "round", KV_IF_ABSENT, 0);
    put("PUT", "", "of no key", KV_ALWAYS, 0);
    scan("", 1);
    scan("", 0);
    written("DELETE", kv_delete_1((kv_delete_args){ "", { 6, "colour" }, KV_ALWAYS, 0 }, &gone, server), &gone);
    get("colour");
    show("STATUS", kv_status_1(&status, server), &status.status);
    if (status.status == KV_OK)
        printf(", %s, %llu keys, committed to version %llu\n", node->primary ? "primary" : "no primary", (version)node->keys, (version)node->committed);
    xdr_free((xdrproc_t)xdr_kv_status_res, &status);
    auth_destroy(server->cl_auth);
    clnt_destroy(server);
    if (at)
        freeaddrinfo(at);
    return 0;
}
