#include "fake.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/base/buf.h>

static pid_t server = -1;
static FILE *record; /* shared with the server: an unlinked file */

static void answer(int fd, const struct rule *rules, const char *request)
{
	static const struct rule none = { "", "HTTP/1.1 404 Not Found\r\n", "no rule" };
	const struct rule *r = rules;
	gt_auto(free) char *text = NULL;

	while (r->start && strncmp(request, r->start, strlen(r->start)) != 0)
		r++;
	if (!r->start)
		r = &none;
	if (!r->body)
		return;
	text = gt_asprintf("%sContent-Length: %zu\r\n\r\n%s", r->head, strlen(r->body), r->body);
	if (write(fd, text, strlen(text)) < 0)
		_exit(1);
}

/* One request: its head, and the body that Content-Length announces. Returns its length or 0. */
static size_t whole(struct gt_buf *in)
{
	const char *end = strstr(gt_buf_str(in), "\r\n\r\n"), *length;
	size_t need;

	if (!end)
		return 0;
	need = (size_t)(end - in->data) + 4;
	length = strstr(in->data, "Content-Length: ");
	if (length && length < end)
		need += strtoul(length + 16, NULL, 10);
	return in->len >= need ? need : 0;
}

static void serve(int fd, const struct rule *rules)
{
	gt_auto(buf) struct gt_buf in = { 0 };
	char part[4096];
	ssize_t n;

	while ((n = read(fd, part, sizeof(part))) > 0) {
		size_t len;

		gt_buf_add(&in, part, (size_t)n);
		while ((len = whole(&in))) {
			fwrite(in.data, 1, len, record);
			fputc('\n', record);
			fflush(record);
			answer(fd, rules, in.data);
			gt_buf_consume(&in, len);
		}
	}
}

static void serve_all(int listener, const struct rule *rules)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			_exit(1);
		/* A process a connection: the client may keep one while it opens another. */
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			serve(fd, rules);
			_exit(0);
		}
		close(fd);
	}
}

void fake_start(const struct rule *rules)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t len = sizeof(at);
	char url[64];

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	record = tmpfile();
	if (!record || bind(fd, (struct sockaddr *)&at, len) < 0 || listen(fd, 16) < 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &len) < 0)
		abort();
	snprintf(url, sizeof(url), "http://127.0.0.1:%u", ntohs(at.sin_port));
	setenv("GANTRY_URL", url, 1);
	setenv("GANTRY_TOKEN", "t0ken", 1);
	server = fork();
	if (server == 0)
		serve_all(fd, rules);
	close(fd);
}

char *fake_stop(void)
{
	gt_auto(buf) struct gt_buf text = { 0 };
	char part[4096];
	size_t n;

	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	rewind(record);
	while ((n = fread(part, 1, sizeof(part), record)) > 0)
		gt_buf_add(&text, part, n);
	fclose(record);
	return gt_buf_steal(&text);
}
