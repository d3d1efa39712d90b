#include "backend.h"

#include <glob.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <libpq-fe.h>

#define NOBODY 65534

static struct {
	bool on;
	char bin[256], dir[64], path[256];
	pid_t pid;
	unsigned schema;
} pg;

static bool find_programs(void)
{
	glob_t found;

	if (pg.bin[0])
		return true;
	if (glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) != 0)
		return false;
	snprintf(pg.bin, sizeof(pg.bin), "%s", found.gl_pathv[found.gl_pathc - 1]);
	*strrchr(pg.bin, '/') = '\0';
	globfree(&found);
	return true;
}

bool backend_pg_installed(void)
{
	bool there = find_programs();

	if (!there)
		printf("PostgreSQL is not installed (Debian's package postgresql): skipped\n");
	return there;
}

/* PostgreSQL refuses root. Its own ends with us. */
static pid_t start(const char *const argv[], int end_signal)
{
	pid_t parent = getpid(), pid = fork();

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	if (geteuid() == 0 && (setgid(NOBODY) < 0 || setuid(NOBODY) < 0))
		_exit(126);
	prctl(PR_SET_PDEATHSIG, end_signal);
	if (getppid() != parent || chdir(pg.dir) < 0 || !freopen("log", "a", stdout) ||
	    dup2(STDOUT_FILENO, STDERR_FILENO) < 0)
		_exit(126);
	setsid();
	execv(argv[0], (char *const *)argv);
	_exit(127);
}

static void show_log(void)
{
	char path[128], line[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/log", pg.dir);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		fputs(line, stderr);
	if (f)
		fclose(f);
}

static void url(char *out, size_t size, const char *more)
{
	snprintf(out, size, "postgresql://gantry@/postgres?host=%s%s", pg.dir, more);
}

void backend_pg_return(void)
{
	char program[300], socket[128], at[256];
	const char *const argv[] = { program,
				     "-D",
				     "data",
				     "-k",
				     pg.dir,
				     "-c",
				     "listen_addresses=",
				     "-c",
				     "shared_buffers=16MB",
				     "-c",
				     "max_connections=150",
				     "-c",
				     "log_min_messages=error",
				     NULL };

	snprintf(program, sizeof(program), "%s/postgres", pg.bin);
	snprintf(socket, sizeof(socket), "%s", pg.dir);
	pg.pid = start(argv, SIGQUIT);
	url(at, sizeof(at), "");
	for (unsigned n = 0; PQping(at) != PQPING_OK; n++) {
		if (n > 3000 || waitpid(pg.pid, NULL, WNOHANG) != 0) {
			show_log();
			fail_msg("PostgreSQL did not start");
		}
		usleep(10000);
	}
}

void backend_pg_crash(void)
{
	kill(pg.pid, SIGQUIT);
	assert_int_equal(waitpid(pg.pid, NULL, 0), pg.pid);
	pg.pid = 0;
}

void backend_pg_signal(int signo)
{
	char path[64], text[64] = "";
	FILE *f;
	int pid;

	kill(pg.pid, signo); /* then the processes that it made */
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pg.pid, pg.pid);
	f = fopen(path, "r");
	assert_non_null(f);
	while (fscanf(f, "%63s", text) == 1 && sscanf(text, "%d", &pid) == 1)
		kill(pid, signo);
	fclose(f);
}

int backend_pg_begin(void **state)
{
	char program[300];
	const char *const argv[] = { program,  "-D", "data", "-A",          "trust", "-U",
				     "gantry", "-E", "UTF8", "--no-locale", "-N",    NULL };
	int status;

	(void)state;
	snprintf(pg.dir, sizeof(pg.dir), "/tmp/gt-pg-XXXXXX");
	assert_non_null(mkdtemp(pg.dir));
	if (geteuid() == 0)
		assert_int_equal(chown(pg.dir, NOBODY, NOBODY), 0);
	snprintf(program, sizeof(program), "%s/initdb", pg.bin);
	assert_true(waitpid(start(argv, SIGKILL), &status, 0) > 0);
	if (status != 0) {
		show_log();
		return -1;
	}
	backend_pg_return();
	pg.on = true;
	return 0;
}

int backend_pg_end(void **state)
{
	char rm[128];
	pid_t pid;

	(void)state;
	pg.on = false;
	if (pg.pid)
		backend_pg_crash();
	snprintf(rm, sizeof(rm), "rm -r %s", pg.dir);
	pid = fork();
	if (pid == 0)
		_exit(execl("/bin/sh", "sh", "-c", rm, (char *)NULL));
	waitpid(pid, NULL, 0);
	return 0;
}

bool backend_is_pg(void)
{
	return pg.on;
}

void backend_fresh(void)
{
	char option[64], sql[64];

	if (!pg.on) {
		unlink("control/gantry.db");
		unlink("control/gantry.db-wal");
		unlink("control/gantry.db-shm");
		return;
	}
	snprintf(option, sizeof(option), "&options=-csearch_path%%3Dt%u", ++pg.schema);
	url(pg.path, sizeof(pg.path), option);
	snprintf(sql, sizeof(sql), "CREATE SCHEMA t%u", pg.schema);
	backend_sql(sql);
}

const char *backend_path(void)
{
	return pg.on ? pg.path : "control/gantry.db";
}

long backend_sql(const char *sql)
{
	PGconn *c = PQconnectdb(pg.path);
	PGresult *res = PQexec(c, sql);
	long n = 0;

	if (PQresultStatus(res) != PGRES_TUPLES_OK && PQresultStatus(res) != PGRES_COMMAND_OK)
		fail_msg("%s: %s", sql, PQerrorMessage(c));
	if (PQntuples(res) > 0)
		n = atol(PQgetvalue(res, 0, 0));
	PQclear(res);
	PQfinish(c);
	return n;
}
