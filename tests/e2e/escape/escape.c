/* escape.c - the escape suite as a function: an HTTP server that runs probes on request.
 *
 *	/probe/NAME	runs one; {"name", "result": "contained" | "ESCAPED" | "absent", "detail"}
 *	/ls/PATH	the names in a directory, or an error's name: one a line
 *	/scm		an answer that tries to carry descriptors along
 *
 * The same program serves the tests outside: --list (name, control, kind), --control BARE|UNSHARED
 * (runs the probes that must say ESCAPED there), --swap A B (exchanges two names until it is
 *killed),
 * --ids (who it runs as). */
#include "escape.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROBE_SECONDS 20

unsigned long long started_with_fds;

static const struct probes *const all[] = {
	&namespace_probes, &process_probes, &mount_probes, &file_probes,
	&right_probes,     &call_probes,    &net_probes,   &limit_probes,
};
#define N_ALL (sizeof(all) / sizeof(all[0]))

static const struct probe *find(const char *name)
{
	for (size_t i = 0; i < N_ALL; i++) {
		for (size_t j = 0; j < all[i]->n; j++) {
			if (strcmp(all[i]->table[j].name, name) == 0)
				return &all[i]->table[j];
		}
	}
	return NULL;
}

/* In a process of its own, which it may lose, in a session of its own. */
static struct result run(const struct probe *p)
{
	struct result *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct result r = { 0 };
	int status = 0;
	pid_t pid;

	if (shared == MAP_FAILED) {
		say(&r, ESCAPED, "no memory for the result");
		return r;
	}
	pid = fork();
	if (pid == 0) {
		setsid();
		alarm(PROBE_SECONDS);
		p->run(shared, p->arg, p->nr);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		say(shared, ESCAPED, "the probe could not be run: %s", error_name(errno));
	else if (WIFSIGNALED(status))
		say(shared, ESCAPED, "the probe died of signal %d", WTERMSIG(status));
	say(shared, shared->verdict == NOTHING ? ESCAPED : NOTHING, "the probe said nothing");
	r = *shared;
	munmap(shared, sizeof(*shared));
	return r;
}

/* Details hold no control characters, so quotes and backslashes are all there is to escape. */
static int print(const struct probe *p, char *out, size_t size)
{
	static const char *const names[] = { "nothing", "absent", "contained", "ESCAPED" };
	struct result r = run(p);
	char detail[2 * sizeof(r.detail)];
	size_t n = 0;

	for (const char *c = r.detail; *c; c++) {
		if (*c == '"' || *c == '\\')
			detail[n++] = '\\';
		detail[n++] = *c >= ' ' && *c < 127 ? *c : '?';
	}
	detail[n] = '\0';
	return snprintf(out, size, "{\"name\": \"%s\", \"result\": \"%s\", \"detail\": \"%s\"}\n",
			p->name, names[r.verdict], detail);
}

/* ---- the function ---- */

static void list_directory(const char *path, char *out, size_t size)
{
	DIR *d = opendir(path);
	size_t len = 0;

	if (!d) {
		snprintf(out, size, "%s\n", error_name(errno));
		return;
	}
	for (struct dirent *e; (e = readdir(d)) != NULL && len + sizeof(e->d_name) + 2 < size;)
		len += (size_t)snprintf(out + len, size - len, "%s\n", e->d_name);
	closedir(d);
}

static void send_with_descriptors(int conn, char *text, size_t len)
{
	int fds[4];
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(fds))];
	} control = { 0 };
	struct iovec iov = { text, len };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		fds[i] = open("/", O_RDONLY | O_DIRECTORY);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(c), fds, sizeof(fds));
	if (sendmsg(conn, &msg, 0) < 0)
		perror("escape: sendmsg");
}

static void serve(int conn)
{
	static char head[16384], body[65536], answer[sizeof(body) + 200];
	const struct probe *p;
	ssize_t n = 0;
	size_t len = 0;
	char *target, *end;

	while (!strstr(head, "\r\n\r\n") && len < sizeof(head) - 1 &&
	       (n = read(conn, head + len, sizeof(head) - 1 - len)) > 0)
		len += (size_t)n;
	target = strchr(head, ' ');
	end = target ? strchr(target + 1, ' ') : NULL;
	if (!end)
		return;
	*end = '\0';
	target++;
	p = strncmp(target, "/probe/", 7) == 0 ? find(target + 7) : NULL;
	if (p)
		print(p, body, sizeof(body));
	else if (strncmp(target, "/ls/", 4) == 0)
		list_directory(target + 3, body, sizeof(body));
	else
		snprintf(body, sizeof(body), "%s\n", target);
	len = (size_t)snprintf(
		answer, sizeof(answer),
		"HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
		strlen(body), body);
	if (strcmp(target, "/scm") == 0)
		send_with_descriptors(conn, answer, len);
	else if (write(conn, answer, len) < 0)
		perror("escape: write");
}

static int listen_forever(void)
{
	const char *port = getenv("PORT");
	struct sockaddr_in addr = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	addr.sin_port = htons((unsigned short)(port ? atoi(port) : 8000));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 64) < 0) {
		perror("escape: listen");
		return 1;
	}
	signal(SIGCHLD, SIG_IGN);
	signal(SIGUSR2, SIG_IGN); /* what a probe sends to everybody it can reach */
	for (;;) {
		int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (conn >= 0 && fork() == 0) {
			signal(SIGCHLD, SIG_DFL);
			serve(conn);
			_exit(0);
		}
		close(conn);
	}
}

/* ---- tools of the tests outside ---- */

static int list_probes(void)
{
	static const char *const controls[] = { "NOWHERE", "BARE", "UNSHARED" };

	for (size_t i = 0; i < N_ALL; i++) {
		for (size_t j = 0; j < all[i]->n; j++) {
			const struct probe *p = &all[i]->table[j];

			printf("%s %s %s\n", p->name, controls[p->control],
			       p->kind == ALONE ? "ALONE" : "PLAIN");
		}
	}
	return 0;
}

static int control(enum control where)
{
	char text[1200];

	for (size_t i = 0; i < N_ALL; i++) {
		for (size_t j = 0; j < all[i]->n; j++) {
			if (all[i]->table[j].control != where)
				continue;
			print(&all[i]->table[j], text, sizeof(text));
			fputs(text, stdout);
			fflush(stdout);
		}
	}
	return 0;
}

static int swap(const char *a, const char *b)
{
	for (;;) {
		if (renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) < 0 && errno != ENOENT) {
			perror("escape: swap");
			return 1;
		}
	}
}

static int ids(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { 0 } };

	syscall(SYS_capget, &head, data);
	printf("%d %d %x\n", (int)getuid(), (int)geteuid(),
	       data[0].permitted | data[1].permitted | data[0].effective | data[1].effective);
	return 0;
}

int main(int argc, char **argv)
{
	for (int fd = 0; fd < 64; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			started_with_fds |= 1ull << fd;
	}
	if (argc == 2 && strcmp(argv[1], "--list") == 0)
		return list_probes();
	if (argc == 2 && strcmp(argv[1], "--ids") == 0)
		return ids();
	if (argc == 3 && strcmp(argv[1], "--control") == 0)
		return control(strcmp(argv[2], "BARE") == 0 ? BARE : UNSHARED);
	if (argc == 4 && strcmp(argv[1], "--swap") == 0)
		return swap(argv[2], argv[3]);
	return listen_forever();
}
