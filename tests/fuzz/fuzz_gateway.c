/* The whole exchange between scripted clients and replicas: the input is a script of what each of
 * them sends, when it stops reading, how it ends, and how time passes. Whatever it says, replicas
 * see only requests that were sent, clients see only well-formed answers, slots are kept, and in
 * the end nothing is left. */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/gateway/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char *const words[] = {
	"GET /f/echo/a HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " SCRIPT_TOKEN "\r\n\r\n",
	"POST /f/echo?q HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " SCRIPT_TOKEN "\r\n",
	"HEAD /f/echo/ HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " SCRIPT_TOKEN "\r\n",
	"PUT /v1/functions/x HTTP/1.1\r\nHost: h\r\n",
	"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " SCRIPT_TOKEN
	"\r\n",
	"GET http://h/f/echo HTTP/1.0\r\n",
	"Content-Length: 5\r\n\r\n",
	"Content-Length: 5\r\n",
	"Transfer-Encoding: chunked\r\n\r\n",
	"Transfer-Encoding: chunked\r\n",
	"Expect: 100-continue\r\n",
	"Connection: close\r\n",
	"Connection: keep-alive\r\n",
	"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
	"\r\n",
	"5\r\nhello\r\n",
	"0\r\n\r\n",
	"0\r\nTrailer: x\r\n\r\n",
	"hello",
	"{\"model\":\"m\"}",
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
	"HTTP/1.1 200 OK\r\n\r\n",
	"HTTP/1.1 204 None\r\n\r\n",
	"HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n",
	"HTTP/1.1 100 Continue\r\n\r\n",
	"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
	"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
	"HTTP/1.0 500 Bad\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 200 ",
	"X: y\r\n",
	"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
};

struct input {
	const uint8_t *at, *end;
};

static uint8_t next(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

/* The newest ones first: a script mostly goes on with what it just began. */
static struct script_end *pick(struct script *s, uint8_t which, bool client)
{
	for (size_t i = s->n_ends; i-- > 0;) {
		struct script_end *e = &s->ends[i];
		bool fits = client ? e->role == SCRIPT_CLIENT
				   : e->role == SCRIPT_UP || e->role == SCRIPT_API;

		if (fits && which-- == 0)
			return e;
	}
	return NULL;
}

static void play_end(struct script_end *e, uint8_t op, struct input *in)
{
	size_t n;
	const char *word;

	switch (op) {
	case 0: /* bytes of the input */
		n = next(in);
		n = GT_MIN(n, (size_t)(in->end - in->at));
		script_put(e, in->at, n);
		in->at += n;
		break;
	case 1:
		word = words[next(in) % GT_LEN(words)];
		script_puts(e, word);
		break;
	case 2: /* a word in two pieces */
		word = words[next(in) % GT_LEN(words)];
		n = next(in) % (strlen(word) + 1);
		script_put(e, word, n);
		script_puts(e, word + n);
		break;
	case 3:
		script_eof(e);
		break;
	case 4:
		e->undelivered = next(in) & 1;
		script_fail(e, ECONNRESET);
		break;
	case 5: /* it reads slowly from now on */
		n = next(in);
		e->room = GT_MIN(e->room, n);
		break;
	case 6:
		script_room(e, (size_t)next(in) << (next(in) & 15));
		break;
	default: { /* much of one byte */
		static char much[1 << 16];

		script_put(e, much, (size_t)next(in) << 8);
	}
	}
}

static void play(struct script *s, struct input *in)
{
	static const char *const peers[] = { "10.0.0.1", "10.0.0.2", "10.0.0.3" };
	uint8_t op = next(in);
	struct script_end *e = pick(s, op >> 4 & 3, op & 8);

	if (op & 0x80 && op & 0x40) {
		script_wait(s, 1u << (op & 15));
	} else if (op & 0x80) {
		switch (op & 7) {
		case 0:
			script_client(s, peers[next(in) % GT_LEN(peers)]);
			break;
		case 1:
			s->dial_fails = next(in) & 7;
			break;
		case 2:
			s->api_away = !s->api_away;
			break;
		case 3:
			s->replicas[next(in) & 3].draining = next(in) & 1;
			script_tell(s, next(in) % 5);
			break;
		case 4:
			s->route.concurrency += next(in) & 1; /* fewer count only for new calls */
			s->route.queue = next(in) & 3;
			s->route.run_ms = (next(in) & 1) * 5000u;
			script_tell(s, next(in) % 5);
			break;
		case 5:
			s->room = next(in);
			break;
		default:
			s->room = SIZE_MAX / 2;
		}
	} else if (e) {
		play_end(e, op & 7, in);
	}
}

static void check(struct script *s)
{
	const char *bad = ref_check(s);

	if (!bad)
		return;
	for (size_t i = 0; i < s->n_ends; i++) {
		struct script_end *e = &s->ends[i];

		fprintf(stderr, "---- %s%s%s sent:\n%s\n---- and got:\n%s\n", e->name,
			e->shut ? " (shut)" : "", e->closed ? " (closed)" : "",
			gt_buf_str(&e->sent), e->role == SCRIPT_BROKER ? "" : gt_buf_str(&e->got));
	}
	fprintf(stderr, "%s\n", bad);
	abort();
}

/* Everybody leaves. */
static void finish(struct script *s)
{
	struct gt_fn *fn = gt_routes_function(s->gw, "echo", 4);

	for (size_t i = 0; i < s->n_ends; i++)
		if (s->ends[i].role == SCRIPT_CLIENT && s->ends[i].open)
			script_fail(&s->ends[i], ECONNRESET);
	assert(s->gw->n_conns == 0);
	assert(s->gw->buffered == 0);
	assert(fn->in_flight == 0 && fn->n_waiting == 0);
	size_t left = script_close(s);

	assert(left == 0);
	(void)left;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, data + len };
	struct script *s;

	if (!len)
		return 0;
	gt_log_init("fuzz", GT_ERROR);
	s = script_open(next(&in) % 3);
	script_client(s, "10.0.0.1");
	while (in.at < in.end)
		play(s, &in);
	check(s);
	script_wait(s, 300 * 1000);
	check(s);
	finish(s);
	return 0;
}
