/* replay.c - runs a fuzz target over files, without a fuzzer: the corpus as a regression test.
 * usage: fuzz_NAME [file or directory]... */
#include <dirent.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* In a block of its exact size, so that a sanitizer sees a read past the end. */
static int replay_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	struct stat st;

	if (!f || fstat(fileno(f), &st) < 0) {
		perror(path);
		if (f)
			fclose(f);
		return -1;
	}
	uint8_t *data = malloc(st.st_size > 0 ? (size_t)st.st_size : 1);
	size_t len = data ? fread(data, 1, (size_t)st.st_size, f) : 0;

	fclose(f);
	LLVMFuzzerTestOneInput(data, len);
	free(data);
	return 0;
}

static int replay_path(const char *path, unsigned *count)
{
	struct stat st;
	struct dirent *e;
	DIR *dir;
	int r = 0;

	if (stat(path, &st) < 0) {
		perror(path);
		return -1;
	}
	if (S_ISREG(st.st_mode)) {
		++*count;
		return replay_file(path);
	}
	dir = opendir(path);
	if (!dir) {
		perror(path);
		return -1;
	}
	while (r == 0 && (e = readdir(dir))) {
		char name[PATH_MAX];

		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		r = replay_path(name, count);
	}
	closedir(dir);
	return r;
}

int main(int argc, char **argv)
{
	unsigned count = 0;

	for (int i = 1; i < argc; i++)
		if (replay_path(argv[i], &count) < 0)
			return 1;
	LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
	printf("%u inputs replayed\n", count);
	return count == 0; /* a target without a corpus checks nothing */
}
