/* test_registry_real.c - an image made by umoci, pushed by skopeo, pulled from Debian's
 * docker-registry: anonymous, with Basic, with Bearer, and by https. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/base/buf.h>
#include <gantry/base/cleanup.h>
#include <gantry/http/digest.h>
#include <gantry/image/registry.h>

#include "../http/fake_server.h"
#include "issuer.h"

GT_CLEANUP_TYPE(manifest, struct gt_manifest *, gt_manifest_free)

/* Resolved to loopback by libcurl itself, but no loopback address to the client: https. */
#define TLS_HOST "registry.localhost"

static struct {
	char dir[64];
	const char *missing; /* a program, or NULL */
	struct issuer issuer;
	pid_t running[16]; /* a test that fails leaves its servers here */
	size_t n_running;
} all;

struct served {
	pid_t pid;
	unsigned port;
	FILE *log; /* stays open, else its next word ends it */
};

static const char *program_missing(void)
{
	static const char *const programs[] = { "/usr/bin/docker-registry", "/usr/bin/skopeo",
						"/usr/bin/umoci", "/bin/busybox",
						"/usr/bin/openssl" };

	for (size_t i = 0; i < GT_LEN(programs); i++)
		if (access(programs[i], X_OK) != 0)
			return programs[i];
	return NULL;
}

static pid_t spawn(const char *const *argv, int out)
{
	extern char **environ;
	posix_spawn_file_actions_t files;
	pid_t pid = -1;

	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addchdir_np(&files, all.dir);
	posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&files, out, STDERR_FILENO);
	assert_int_equal(posix_spawnp(&pid, argv[0], &files, NULL, (char *const *)argv, environ),
			 0);
	posix_spawn_file_actions_destroy(&files);
	return pid;
}

static void shell(const char *script)
{
	const char *argv[] = { "/bin/sh", "-ec", script, NULL };
	int status = 0;
	pid_t pid = spawn(argv, STDERR_FILENO);

	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status != 0)
		fail_msg("status %#x of: %s", (unsigned)status, script);
}

/* A program that serves on loopback, ready when it says so with these words. */
static struct served serving(const char *const *argv, const char *words)
{
	struct served s = { 0 };
	char line[1000] = "";
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_true(all.n_running < GT_LEN(all.running));
	s.pid = spawn(argv, ends[1]);
	all.running[all.n_running++] = s.pid;
	close(ends[1]);
	s.log = fdopen(ends[0], "r");
	while (s.port == 0 && fgets(line, sizeof(line), s.log)) {
		const char *at = strstr(line, words);

		if (at)
			s.port = (unsigned)atoi(at + strlen(words));
	}
	if (s.port == 0)
		fail_msg("%s did not start: %s", argv[0], line);
	return s;
}

/* A registry over the one storage. more: further lines of its file. */
static struct served serve(const char *name, const char *http, const char *more)
{
	gt_auto(free) char *path = gt_asprintf("%s/%s.yml", all.dir, name);
	const char *argv[] = { "docker-registry", "serve", path, NULL };
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fprintf(f,
		"version: 0.1\nlog: {level: info, accesslog: {disabled: true}}\n"
		"storage: {filesystem: {rootdirectory: %s/storage}}\n"
		"http: {addr: \"127.0.0.1:0\", secret: x%s}\n%s",
		all.dir, http, more);
	fclose(f);
	return serving(argv, "listening on 127.0.0.1:");
}

static void served_end(struct served *s)
{
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	for (size_t i = 0; i < all.n_running; i++)
		if (all.running[i] == s->pid)
			all.running[i] = all.running[--all.n_running];
	fclose(s->log);
}

static int setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	all.missing = program_missing();
	if (all.missing) {
		fprintf(stderr, "SKIPPED: %s is missing; run make deps\n", all.missing);
		return 0;
	}
	gt_strcopy(all.dir, sizeof(all.dir), "/tmp/gantry-registry-XXXXXX");
	assert_non_null(mkdtemp(all.dir));
	/* The programs' settings are nobody's own, and may not even be readable. */
	assert_int_equal(setenv("HOME", all.dir, 1), 0);
	unsetenv("XDG_RUNTIME_DIR");
	issuer_init(&all.issuer, all.dir, TLS_HOST);
	shell("umoci init --layout oci && umoci new --image oci:tiny\n"
	      "umoci unpack --rootless --image oci:tiny b\n"
	      "mkdir -p b/rootfs/bin b/rootfs/app && cp /bin/busybox b/rootfs/bin/\n"
	      "ln -s busybox b/rootfs/bin/sh && echo one > b/rootfs/app/old\n"
	      "umoci repack --refresh-bundle --image oci:tiny b\n"
	      "rm b/rootfs/app/old && echo two > b/rootfs/app/new\n"
	      "umoci repack --refresh-bundle --image oci:tiny b\n"
	      "umoci config --image oci:tiny --config.entrypoint /bin/sh --config.cmd -c \\\n"
	      "	--config.cmd 'cat /app/new' --config.env PATH=/bin --config.workingdir /app \\\n"
	      "	--config.user 65534:65534 --config.exposedports 8080/tcp\n");
	struct served s = serve("push", "", "");
	gt_auto(free) char *copy = gt_asprintf(
		"for form in '' '--format v2s2'; do skopeo copy -q $form --dest-tls-verify=false "
		"oci:oci:tiny docker://127.0.0.1:%u/team/tiny:1$(echo $form | tr -dc 's'); done",
		s.port);

	shell(copy);
	served_end(&s);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (all.missing)
		return 0;
	while (all.n_running) {
		kill(all.running[--all.n_running], SIGKILL);
		waitpid(all.running[all.n_running], NULL, 0);
	}
	const char *argv[] = { "rm", "-rf", all.dir, NULL };
	pid_t pid = spawn(argv, STDERR_FILENO);

	issuer_fini(&all.issuer);
	return waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

static void skip_without_programs(void)
{
	if (all.missing)
		skip();
}

static int collect(const void *data, size_t len, void *arg, struct gt_err *err)
{
	(void)err;
	return gt_buf_add(arg, data, len);
}

static int manifest_of(struct gt_registry *r, const char *host, unsigned port, const char *tag,
		       struct gt_ref *ref, struct gt_manifest **ret, struct gt_err *err)
{
	gt_auto(free) char *text = gt_asprintf("%s:%u/team/tiny:%s", host, port, tag);

	assert_int_equal(gt_ref_parse(text, ref, err), 0);
	return gt_registry_manifest(r, ref, NULL, ret, err);
}

/* All of it: manifest, config, layers. */
static void pull(const struct gt_registry_config *config, const char *host, unsigned port,
		 const char *tag)
{
	gt_auto(manifest) struct gt_manifest *m = NULL;
	gt_auto(image_config) struct gt_image_config *c = NULL;
	struct gt_registry *r = NULL;
	struct gt_err err = { 0 };
	struct gt_ref ref;

	assert_int_equal(gt_registry_new(config, &r, &err), 0);
	if (manifest_of(r, host, port, tag, &ref, &m, &err) < 0 ||
	    gt_registry_config(r, &ref, m, NULL, &c, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(m->n_layers, 2);
	assert_int_equal(c->n_diff_ids, 2);
	assert_string_equal(c->entrypoint[0], "/bin/sh");
	assert_string_equal(c->cmd[1], "cat /app/new");
	assert_string_equal(c->env[0], "PATH=/bin");
	assert_string_equal(c->user, "65534:65534");
	assert_string_equal(c->workdir, "/app");
	assert_int_equal(c->port, 8080);
	for (size_t i = 0; i < m->n_layers; i++) {
		gt_auto(buf) struct gt_buf body = { 0 };
		char hex[GT_SHA256_HEX_SIZE];

		assert_int_equal(m->layers[i].form, GT_LAYER_GZIP);
		if (gt_registry_blob(r, &ref, &m->layers[i], NULL, collect, &body, &err) < 0)
			fail_msg("%s", err.text);
		assert_int_equal(body.len, m->layers[i].bytes);
		assert_memory_equal(body.data, "\x1f\x8b", 2);
		gt_sha256_hex(body.data, body.len, hex);
		assert_string_equal(hex, m->layers[i].digest + strlen("sha256:"));
	}
	gt_registry_free(r);
}

static void refused(const struct gt_registry_config *config, const char *host, unsigned port,
		    const char *tag, const char *slug, const char *why)
{
	struct gt_manifest *m = NULL;
	struct gt_registry *r = NULL;
	struct gt_err err = { 0 };
	struct gt_ref ref;

	assert_int_equal(gt_registry_new(config, &r, &err), 0);
	assert_true(manifest_of(r, host, port, tag, &ref, &m, &err) < 0);
	if (strcmp(err.slug, slug) != 0 || !strstr(err.text, why))
		fail_msg("%s: %s", err.slug, err.text);
	gt_registry_free(r);
}

/* auths for one host; user:pass is right, user:wrong is not. */
static char *auths(unsigned port, const char *base64)
{
	return gt_asprintf("{\"auths\":{\"127.0.0.1:%u\":{\"auth\":\"%s\"}}}", port, base64);
}

#define RIGHT "dXNlcjpwYXNz"
#define WRONG "dXNlcjp3cm9uZw=="

static void anonymous(void **state)
{
	struct gt_registry_config config = { .tries = 1 };

	(void)state;
	skip_without_programs();
	struct served s = serve("anonymous", "", "");

	pull(&config, "127.0.0.1", s.port, "1");
	pull(&config, "127.0.0.1", s.port, "1s"); /* Docker's schema 2 */
	refused(&config, "127.0.0.1", s.port, "2", "image_missing", "team/tiny:2");
	served_end(&s);
}

static void basic(void **state)
{
	gt_auto(free) char *htpasswd = gt_asprintf("%s/htpasswd", all.dir);
	gt_auto(free) char *more = gt_asprintf("auth: {htpasswd: {realm: test, path: %s}}\n",
					       htpasswd);
	struct gt_registry_config config = { .tries = 1 };

	(void)state;
	skip_without_programs();
	FILE *f = fopen(htpasswd, "w");

	assert_non_null(f); /* user:pass */
	fprintf(f, "user:$2b$05$Kj6Wzx5XQ1DKGyOZi/3h2u4MLhiufT4oh3339Et.beIFZDoRKMjR2\n");
	fclose(f);
	struct served s = serve("basic", "", more);
	gt_auto(free) char *right = auths(s.port, RIGHT);
	gt_auto(free) char *wrong = auths(s.port, WRONG);

	refused(&config, "127.0.0.1", s.port, "1", "image_denied", "add credentials");
	config.docker_config = wrong;
	refused(&config, "127.0.0.1", s.port, "1", "image_denied", "refuses access");
	config.docker_config = right;
	pull(&config, "127.0.0.1", s.port, "1");
	served_end(&s);
}

/* The token server: user:pass, and only for what may be pulled. */
static bool on_token(struct fake_request *req, void *arg)
{
	char authorization[200];

	(void)arg;
	if (!strstr(req->target, "service=test") ||
	    !strstr(req->target, "scope=repository%3Ateam%2Ftiny%3Apull") ||
	    !fake_header(req, "Authorization", authorization, sizeof(authorization)) ||
	    strcmp(authorization, "Basic " RIGHT) != 0)
		return fake_reply(req, 401, "", "{}", 2);
	gt_auto(free) char *token = issuer_token(&all.issuer, "team/tiny");
	gt_auto(free) char *body = gt_asprintf("{\"access_token\":\"%s\",\"expires_in\":300}",
					       token);

	return fake_reply(req, 200, "Content-Type: application/json\r\n", body, strlen(body));
}

static void bearer(void **state)
{
	struct gt_registry_config config = { .tries = 1 };

	(void)state;
	skip_without_programs();
	struct fake_server *tokens = fake_server_start(on_token, NULL);
	gt_auto(free) char *more = gt_asprintf(
		"auth: {token: {realm: \"http://127.0.0.1:%u/token\", service: test, "
		"issuer: issuer, rootcertbundle: %s/cert.pem}}\n",
		fake_server_port(tokens), all.dir);
	struct served s = serve("bearer", "", more);
	gt_auto(free) char *right = auths(s.port, RIGHT);
	gt_auto(free) char *wrong = auths(s.port, WRONG);

	refused(&config, "127.0.0.1", s.port, "1", "image_denied", "no access without");
	config.docker_config = wrong;
	refused(&config, "127.0.0.1", s.port, "1", "image_denied", "refuses the credentials");
	config.docker_config = right;
	pull(&config, "127.0.0.1", s.port, "1");
	/* One token served for everything. */
	assert_int_equal(fake_server_saw(tokens, "Authorization: Basic " RIGHT), 1);
	served_end(&s);
	fake_server_stop(tokens);
}

static void by_https(void **state)
{
	gt_auto(free) char *tls = gt_asprintf(", tls: {certificate: %s/cert.pem, key: %s/key.pem}",
					      all.dir, all.dir);
	gt_auto(free) char *ca = gt_asprintf("%s/cert.pem", all.dir);
	struct gt_registry_config config = { .tries = 3, .pause_ms = 3600000 };

	(void)state;
	skip_without_programs();
	struct served s = serve("tls", tls, "");
	struct served plain = serve("plain", "", "");

	/* At once: a certificate that nobody vouches for does not get better. */
	refused(&config, TLS_HOST, s.port, "1", "registry_unavailable", "certificate");
	config.ca_file = ca;
	pull(&config, TLS_HOST, s.port, "1");
	/* The right certificate for another name. */
	refused(&config, "other.localhost", s.port, "1", "registry_unavailable", "certificate");
	/* What speaks plain HTTP gets no second chance, unless the operator says so. */
	config.tries = 1;
	refused(&config, TLS_HOST, plain.port, "1", "registry_unavailable", TLS_HOST);
	gt_auto(free) char *host = gt_asprintf("%s:%u", TLS_HOST, plain.port);

	config.insecure = (const char *const[]){ host, NULL };
	pull(&config, TLS_HOST, plain.port, "1");
	served_end(&plain);
	served_end(&s);
}

/* What began by https goes on by https. */
static void nothing_falls_back_to_http(void **state)
{
	static const char *const argv[] = { "openssl", "s_server", "-accept", "127.0.0.1:0",
					    "-cert",   "cert.pem", "-key",    "key.pem",
					    "-HTTP",   NULL };
	gt_auto(free) char *ca = gt_asprintf("%s/cert.pem", all.dir);
	struct gt_registry_config config = { .tries = 1, .ca_file = ca };

	(void)state;
	skip_without_programs();
	struct served plain = serve("target", "", "");
	struct served away = serving(argv, "ACCEPT 127.0.0.1:");
	gt_auto(free) char *file = gt_asprintf(
		"mkdir -p v2/team/tiny/manifests\n"
		"printf 'HTTP/1.0 307 X\\r\\nLocation: http://127.0.0.1:%u/v2/team/tiny/manifests/1"
		"\\r\\nContent-Length: 0\\r\\n\\r\\n' > v2/team/tiny/manifests/1\n",
		plain.port);

	shell(file);
	refused(&config, TLS_HOST, away.port, "1", "registry_unavailable", "from https to http");
	served_end(&away);
	served_end(&plain);

	/* Nor do credentials, by way of a token server. */
	struct fake_server *tokens = fake_server_start(on_token, NULL);
	gt_auto(free) char *tls = gt_asprintf(", tls: {certificate: %s/cert.pem, key: %s/key.pem}",
					      all.dir, all.dir);
	gt_auto(free) char *more = gt_asprintf(
		"auth: {token: {realm: \"http://127.0.0.1:%u/token\", service: test, "
		"issuer: issuer, rootcertbundle: %s/cert.pem}}\n",
		fake_server_port(tokens), all.dir);
	struct served s = serve("open-tokens", tls, more);
	gt_auto(free) char *login = gt_asprintf(
		"{\"auths\":{\"" TLS_HOST ":%u\":{\"auth\":\"" RIGHT "\"}}}", s.port);

	config.docker_config = login;
	refused(&config, TLS_HOST, s.port, "1", "registry_unavailable", "not an https address");
	assert_int_equal(fake_server_saw(tokens, "token"), 0);
	served_end(&s);
	fake_server_stop(tokens);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(anonymous),
		cmocka_unit_test(basic),
		cmocka_unit_test(bearer),
		cmocka_unit_test(by_https),
		cmocka_unit_test(nothing_falls_back_to_http),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
