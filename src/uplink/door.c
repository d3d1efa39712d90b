#include "door.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/log.h>
#include <gantry/base/units.h>
#include <gantry/os/os.h>
#include <gantry/uplink/uplink.h>

#define ADDRESSES_MAX 8

/* What the thread works on: the loop's thread looks at it only when there is none. */
struct asked {
	struct door_name name;
	struct sockaddr_storage addresses[ADDRESSES_MAX];
	socklen_t lens[ADDRESSES_MAX];
	size_t n;
	int error; /* of getaddrinfo */
	struct gt_wake *wake;
};

struct door {
	struct gt_loop *loop;
	struct asked *asked;
	size_t at;    /* which address is tried next */
	bool known;   /* asked has the addresses */
	bool numeric; /* it is an address, and for ever the same */
	bool busy;    /* the thread runs */
	pthread_t thread;
	struct door_wait *waits;
};

/* "HOST", "HOST:PORT", "[::1]:PORT". */
static bool split(char *text, struct door_name *ret)
{
	char *port = text + strcspn(text, *text == '[' ? "]" : ":");
	uint64_t number;

	if (*text == '[') {
		if (*port != ']')
			return false;
		*port++ = '\0';
		text++;
	}
	gt_strcopy(ret->port, sizeof(ret->port), "443");
	if (*port == ':') {
		*port++ = '\0';
		if (!gt_strcopy(ret->port, sizeof(ret->port), port))
			return false;
	} else if (*port) {
		return false;
	}
	return *text && gt_strcopy(ret->host, sizeof(ret->host), text) &&
	       gt_parse_u64(ret->port, UINT16_MAX, &number) == 0 && number > 0;
}

int door_parse(const char *url, struct door_name *ret, struct gt_err *err)
{
	const char *rest = url + strlen("https://");
	char text[GT_UPLINK_URL_SIZE] = "";
	struct door_name name;

	if (gt_starts_with(url, "https://") && gt_strcopy(text, sizeof(text), rest)) {
		size_t n = strcspn(text, "/");

		if (gt_streq(text + n, "/"))
			text[n] = '\0';
		if (!text[n] && split(text, &name)) {
			*ret = name;
			return 0;
		}
	}
	return gt_err_set(err, EINVAL, "bad_config",
			  "join: \"%s\" is no address of a door like https://gantry.example:8443",
			  url);
}

static int look_up(struct asked *a, int flags)
{
	const struct addrinfo hints = { .ai_flags = flags | AI_NUMERICSERV,
					.ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	int r = getaddrinfo(a->name.host, a->name.port, &hints, &list);

	a->n = 0;
	for (struct addrinfo *i = list; i && a->n < ADDRESSES_MAX; i = i->ai_next) {
		if (i->ai_addrlen > sizeof(a->addresses[0]))
			continue;
		memcpy(&a->addresses[a->n], i->ai_addr, i->ai_addrlen);
		a->lens[a->n++] = i->ai_addrlen;
	}
	if (list)
		freeaddrinfo(list);
	return r ? r : a->n ? 0 : EAI_NONAME;
}

static void *run(void *arg)
{
	struct asked *a = arg;

	a->error = look_up(a, AI_ADDRCONFIG);
	gt_wake_ring(a->wake);
	return NULL;
}

static void tell(struct door *d, const struct gt_err *err)
{
	struct door_wait *w;

	while ((w = d->waits)) {
		DL_DELETE(d->waits, w);
		w->fn(err, w->arg);
	}
}

static void on_answer(void *arg)
{
	struct door *d = arg;
	struct gt_err err = { 0 };

	pthread_join(d->thread, NULL);
	d->busy = false;
	d->at = 0;
	d->known = d->asked->error == 0;
	if (!d->known)
		gt_err_set(&err, EHOSTUNREACH, "unavailable", "%s: %s", d->asked->name.host,
			   gai_strerror(d->asked->error));
	tell(d, d->known ? NULL : &err);
}

static void start(struct door *d)
{
	sigset_t all, before;
	int r;

	if (d->busy)
		return;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&d->thread, NULL, run, d->asked);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0) { /* as with any small allocation */
		gt_error("a thread for the door's address: %s", strerror(r));
		abort();
	}
	d->busy = true;
}

int door_new(struct gt_loop *loop, const char *url, struct door **ret, struct gt_err *err)
{
	struct door *d = gt_alloc(sizeof(*d));
	int r;

	d->loop = loop;
	d->asked = gt_alloc(sizeof(*d->asked));
	r = door_parse(url, &d->asked->name, err);
	if (r == 0)
		r = gt_wake_new(loop, on_answer, d, &d->asked->wake, err);
	if (r < 0) {
		door_free(d);
		return r;
	}
	d->known = d->numeric = look_up(d->asked, AI_NUMERICHOST) == 0;
	*ret = d;
	return 0;
}

void door_free(struct door *d)
{
	if (!d)
		return;
	if (d->busy) { /* it may wait for a name server yet: what it works on is left to it */
		pthread_detach(d->thread);
	} else {
		gt_wake_free(d->asked->wake);
		free(d->asked);
	}
	free(d);
}

bool door_ready(struct door *d, struct door_wait *wait)
{
	if (d->known && !d->busy)
		return true;
	DL_APPEND(d->waits, wait);
	start(d);
	return false;
}

void door_forget(struct door *d, struct door_wait *wait)
{
	struct door_wait *w;

	DL_FOREACH (d->waits, w)
		if (w == wait)
			break;
	if (w)
		DL_DELETE(d->waits, w);
}

void door_failed(struct door *d)
{
	if (d->asked->n == 0 || d->busy || ++d->at < d->asked->n)
		return;
	d->at = 0;
	d->known = d->numeric; /* all were tried: the name may mean others by now */
}

int door_connect(struct door *d, int *ret_fd, struct gt_err *err)
{
	const struct sockaddr *to = (struct sockaddr *)&d->asked->addresses[d->at];
	gt_auto(fd) int fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || gt_os_tcp_guard(fd) < 0 ||
	    (connect(fd, to, d->asked->lens[d->at]) < 0 && errno != EINPROGRESS))
		return gt_err_errno(err, errno, "connect to %s", d->asked->name.host);
	*ret_fd = gt_steal_fd(&fd);
	return 0;
}
