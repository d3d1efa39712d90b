/* daemon.c - what a daemon does before it serves, and beside that: configuration, state directory,
 * sockets, copies. */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/store/store.h>

#include "../../../src/daemon/authority.h"
#include "../../../src/daemon/backup.h"
#include "../../../src/daemon/config.h"
#include "../../../src/daemon/listen.h"
#include "../../../src/daemon/spawn.h"
#include "../../../src/daemon/state_dir.h"
#include "../../../src/daemon/webhook_key.h"
#include "../torture.h"

#define NOW_MS 1700000000000ULL

static struct gt_config config;

static void with_config(struct world *w)
{
	static const char text[] =
		"[daemon]\nlog_level = warn\n[gateway]\ndrain = 5s\n[agent]\nlabels = a=1,b=2\n";

	(void)w;
	put_file("gantryd.conf", text, sizeof(text) - 1);
	gt_config_defaults(&config);
}

static int configure(struct world *w, struct gt_err *err)
{
	static char packed[GT_CONFIG_PACKED];
	static struct gt_config c, back;
	int r;

	gt_config_defaults(&c);
	r = gt_config_read(&c, "gantryd.conf", err);
	if (r == 0)
		r = gt_config_pack(&c, packed, sizeof(packed), err);
	if (r == 0)
		r = gt_config_unpack(&back, packed, err);
	if (r == 0 && (back.drain_ms != 5000 || !gt_streq(back.labels, "a=1,b=2")))
		wrong(w, "read, and something is missing: %s", back.labels);
	return r;
}

/* ---- the state directory ---- */

static int state(struct world *w, struct gt_err *err)
{
	char dir[128], first[65] = "", second[65] = "";
	int lock = -EBADF, r;

	snprintf(dir, sizeof(dir), "%s/state", w->dir);
	r = gt_state_open(dir, sizeof(dir), 0, &lock, err);
	if (r == 0)
		r = gt_state_dir("control", 0, 0, err);
	if (r == 0)
		r = gt_state_token(first, sizeof(first), err);
	if (r == 0)
		r = gt_state_token(second, sizeof(second), err);
	if (r == 0 && (!gt_streq(first, second) || strlen(first) != 64))
		wrong(w, "two tokens: %s and %s", first, second);
	gt_close(lock);
	if (chdir(w->dir) < 0)
		MUST(chdir(w->dir) == 0); /* once, it fails for the sake of the scene */
	return r;
}

/* ---- sockets ---- */

static int sockets(struct world *w, struct gt_err *err)
{
	gt_auto(fd) int tcp = -EBADF, local = -EBADF;
	char url[128];
	int r = gt_listen_tcp("127.0.0.1:0", "http", url, sizeof(url), &tcp, err);

	if (r == 0 && !strstr(url, "127.0.0.1:"))
		wrong(w, "listens on %s", url);
	return r < 0 ? r : gt_listen_unix("api.sock", SOCK_STREAM, 0, 0, &local, err);
}

/* ---- roles ---- */

/* This program as a role ends at once: it knows none. */
static int spawn(struct world *w, struct gt_err *err)
{
	struct gt_spawn s = {
		.id = GT_PROC_CONTROL, .instance = 1, .config = &config, .token_sha256 = "x"
	};
	int pidfd = -EBADF, status, r;
	pid_t pid;

	(void)w;
	for (int i = 0; i < GT_FD_N; i++)
		s.fds[i] = -EBADF;
	r = gt_spawn_role(&s, &pid, &pidfd, err);
	if (r < 0)
		return r;
	waitpid(pid, &status, 0);
	gt_close(pidfd);
	return 0;
}

/* ---- what is kept ---- */

static struct gt_store *store;

static void nobody(void *arg)
{
	(void)arg;
}

static int give(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return lchown(path, GT_DEFAULT_ID, GT_DEFAULT_ID);
}

static void with_state(struct world *w)
{
	struct gt_store_config c = { .path = "control/gantry.db",
				     .bodies_dir = "control/bodies",
				     .notify = nobody };
	struct gt_err err;
	char dir[128], hex[65];
	int lock;

	gt_config_defaults(&config);
	snprintf(dir, sizeof(dir), "%s/state", w->dir);
	if (gt_state_open(dir, sizeof(dir), 0, &lock, &err) < 0 ||
	    gt_state_dir("control", 0, 0, &err) < 0 || gt_state_token(hex, sizeof(hex), &err) < 0 ||
	    gt_store_open(&c, &store, &err) < 0)
		broken("%s", err.text);
	gt_store_close(store);
	store = NULL;
	gt_close(lock);
	MUST(nftw("control", give, 16, FTW_PHYS) == 0); /* control has it, which is not root */
	MUST(chmod(w->dir, 0755) == 0);
	gt_strcopy(config.state, sizeof(config.state), dir);
	MUST(chdir(w->dir) == 0);
}

static int secrets(struct world *w, struct gt_err *err)
{
	struct gt_store_config c = { .path = "control/gantry.db",
				     .bodies_dir = "control/bodies",
				     .notify = nobody };
	struct gt_webhook_keys key, again;
	struct gt_pki_ca *ca = NULL;
	int r;

	if (chdir("state") < 0)
		MUST(chdir("state") == 0);
	r = gt_store_open(&c, &store, err);
	if (r == 0)
		r = gt_authority_open(store, NOW_MS, &ca, err);
	if (r == 0)
		r = gt_webhook_keys_open(store, &key, err);
	if (r == 0)
		r = gt_webhook_keys_open(store, &again, err);
	if (r == 0 && !gt_streq(key.at[0].text, again.at[0].text))
		wrong(w, "two keys");
	gt_pki_ca_free(ca);
	gt_store_close(store);
	store = NULL;
	if (chdir(w->dir) < 0)
		MUST(chdir(w->dir) == 0);
	return r;
}

static int backup(struct world *w, struct gt_err *err)
{
	char to[128];
	struct stat st;
	int r;

	snprintf(to, sizeof(to), "%s/copy", w->dir);
	r = gt_backup(&config, to, err);
	if (chdir(w->dir) < 0)
		MUST(chdir(w->dir) == 0);
	/* Whole or not at all. */
	if (r < 0 && lstat(to, &st) == 0 && !w->wrong[0])
		wrong(w, "refused, and %s is there: %s", to, err->text);
	return r;
}

static void no_backup(struct world *w)
{
	(void)w;
	remove_all("copy");
	remove_all("copy.partial"); /* as the operator is told to */
}

static void with_backup(struct world *w)
{
	struct gt_err err = { 0 };

	with_state(w);
	no_backup(w);
	if (backup(w, &err) < 0)
		broken("%s", err.text);
}

/* They are named after the second: two restores in one are refused. */
static void forget_before(void)
{
	DIR *d = opendir("state");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		char path[300];

		snprintf(path, sizeof(path), "state/%s", e->d_name);
		if (strstr(e->d_name, ".before-"))
			remove_all(path);
	}
	if (d)
		closedir(d);
}

static void restored(struct world *w)
{
	(void)w;
	forget_before();
}

static int restore(struct world *w, struct gt_err *err)
{
	char from[128];
	struct stat st;
	int r;

	snprintf(from, sizeof(from), "%s/copy", w->dir);
	forget_before(); /* of a run that was refused */
	r = gt_restore(&config, from, err);
	if (chdir(w->dir) < 0)
		MUST(chdir(w->dir) == 0);
	/* The store that was there, or the one that was asked for: never none. */
	if (stat("state/control/gantry.db", &st) < 0 && errno == ENOENT) {
		DIR *d = opendir("state");
		struct dirent *e;
		bool aside = false;

		while (d && (e = readdir(d)))
			aside |= strstr(e->d_name, ".before-") != NULL;
		if (d)
			closedir(d);
		wrong(w, "there is no store%s (%s)", aside ? ", the old one lies aside" : "",
		      r < 0 ? err->text : "done");
	}
	return r;
}

const struct scene daemon_scenes[] = {
	{ "daemon.config", 0, with_config, configure, NULL, NULL, NULL },
	{ "daemon.state", ROOT | KEEPS | WARM, NULL, state, NULL, NULL, NULL },
	{ "daemon.sockets", KEEPS, NULL, sockets, NULL, NULL, NULL },
	{ "daemon.spawn", KEEPS, with_config, spawn, NULL, NULL, NULL },
	{ "daemon.secrets", ROOT | KEEPS | WARM, with_state, secrets, NULL, NULL, NULL },
	{ "daemon.backup", ROOT | KEEPS | WARM, with_state, backup, no_backup, NULL, no_backup },
	{ "daemon.restore", ROOT | KEEPS | WARM, with_backup, restore, restored, NULL, NULL },
};
SCENES_OF(daemon);
