/* weights.h - weights that a node reads ahead of its replicas, inside the room: files are read
 * once, however many replicas want them, by processes of their own (weights/process.h).
 *
 * weights_jobs.c has the processes: which run, which wait for their turn, how they ended.
 * weights.c has what each replica wants of them, and what control is told. */
#ifndef GANTRY_AGENT_WEIGHTS_H
#define GANTRY_AGENT_WEIGHTS_H

#include <gantry/weights/process.h>
#include <gantry/weights/store.h>

#include "agent_impl.h"

struct weights_scout;

/* A file that replicas of this node want, while any does. */
struct weights_file {
	struct weights *node;
	char key[2 +
		 GT_WEIGHTS_NAME_SIZE]; /* "p:" into the page cache, "s:" into the store; name */
	struct gt_weights_id id;
	uint64_t resident, bytes;     /* in memory when it was found last; read since */
	int fd;                       /* until it is read */
	bool failed, done;            /* neither: it waits, or is being read */
	char why[40];                 /* of a failure */
	struct gt_weights_copy *copy; /* in the store, pinned: it is there, or being filled */
	struct weights_reader *reader;
	struct weights_use *uses;
	struct weights_file *prev, *next; /* node->waiting */
	bool waiting;
	UT_hash_handle hh; /* node->files */
};

/* One replica's part in one file. */
struct weights_use {
	struct replica_weights *of;
	struct weights_file *file;
	char *path;                      /* in the container */
	uint64_t resident;               /* when it was placed */
	struct weights_use *prev, *next; /* file->uses */
};

/* What a replica has of it all. */
struct replica_weights {
	struct replica *r;
	char key[GT_WEIGHTS_KEY_SIZE];
	struct weights_scout *scout;         /* files are still being found */
	struct replica_weights *prev, *next; /* scout->who */
	struct weights_use **uses;
	size_t n_uses;
	bool awaited; /* its container starts when all are done */
	struct gt_timer go;
	char why[40];
};

struct weights {
	struct agent *agent;
	struct gt_weights_home home;
	int groups[GT_RUNTIME_GROUPS_MAX];
	uint64_t cache_bytes, read_bps; /* settings */
	struct gt_weights_store *store; /* NULL: there is none */
	struct weights_file *files, *waiting;
	struct weights_reader *readers;
	struct weights_dying *dying;
	unsigned n_readers;
	struct weights_scout *scouts;
	unsigned n_scouting;
	struct gt_node_weights told;
	bool dirty; /* control has not heard of the last change */
};

/* weights_jobs.c */
/* Finds the files of w's specification: gt_weights_found follows for each, then gt_weights_scouted,
 * both never before this returned. Joins a scout that looks for the same. */
void gt_weights_look(struct weights *n, struct replica_weights *w);
void gt_weights_look_no_more(struct replica_weights *w);
void gt_weights_read_begin(struct weights_file *f); /* in its turn */
void gt_weights_read_cancel(struct weights_file *f);
void gt_weights_jobs_end(struct weights *n);

/* weights.c, told by the jobs */
/* Takes fd in any case. */
void gt_weights_found(struct replica_weights *w, size_t path, const struct gt_weights_word *word,
		      int fd);
void gt_weights_scouted(struct replica_weights *w, const char *why); /* why "": all were found */
void gt_weights_file_moved(struct weights_file *f);
/* why "" when all of it was read. */
void gt_weights_file_ended(struct weights_file *f, const struct gt_weights_word *end,
			   const char *why);

#endif
