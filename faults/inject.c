// SPDX-License-Identifier: MIT
/* Runs a program and makes one system call of it, or of a process that it starts, fail. Usage:
 *
 *   inject UID FROM PROCESS CALL ORDINAL ERRNO PROGRAM ARGUMENT…
 *
 * The ORDINALth call of number CALL of process PROCESS (1: the program itself; its descendants in the order of their births) does not
 * happen and returns ERRNO. With 0 as PROCESS none fails, and each call is told. strace can do neither for one process alone: where it
 * makes the first open of a child fail, it does the same to the caller, which then has no child.
 *
 * Calls count from where the program sends itself SIGURG (FROM is 0) or where it unlinks "/faults+" or maps memory with MAP_POPULATE, as
 * the command does first (FROM is 1, which takes longer), to where it sends itself SIGURG or unlinks "/faults-". So do those of children
 * that are born meanwhile, as long as they run what is casulo's own. What they execute beside casulo-init goes on undisturbed.
 *
 * Descriptor 3 gets what happened: "call PROCESS CALL" for each; "end exit STATUS" or "end signal NUMBER" of the program; "hang" where
 * it has not ended in time; "left PROGRAM" for each process that lives a second later. None of them is left in the end. */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __x86_64__
#error "how a call is made to fail is known for x86-64 only"
#endif

enum { PATIENCE = 20, AFTERWARDS = 1, MOST = 64, CALLS = 1024 };

struct tracee {
  pid_t pid;
  int number;  /* 0: not one of those whose calls count */
  bool waits;  /* for its parent to tell of it */
  bool fresh;  /* its first stop is still to come */
  bool failing;
  long argument; /* of the call that fails, to be put back */
  int count[CALLS];
};

static struct tracee tracees[MOST];
static int alive, born, process, call, ordinal, wrong;
static bool early, counts, done;
static pid_t program;
static volatile sig_atomic_t late;

static void on_alarm(int number) {
  (void)number;
  late = 1;
}

static struct tracee *find(pid_t pid) {
  for (int i = 0; i < alive; i++)
    if (tracees[i].pid == pid) return &tracees[i];
  if (alive == MOST) exit(125);
  memset(&tracees[alive], 0, sizeof *tracees);
  tracees[alive].pid = pid;
  return &tracees[alive++];
}

static void forget(struct tracee *t) { *t = tracees[--alive]; }

static void go_on(const struct tracee *t, int number) {
  bool watched = t->failing || (!done && t->number && (early || counts));
  ptrace(watched ? PTRACE_SYSCALL : PTRACE_CONT, t->pid, 0, number);
}

/* What it runs, as the kernel calls the file. */
static const char *image_of(pid_t pid) {
  static char path[4096];
  char link[32];
  snprintf(link, sizeof link, "/proc/%d/exe", pid);
  ssize_t length = readlink(link, path, sizeof path - 1);
  path[length < 0 ? 0 : length] = 0;
  return path;
}

static void begin_or_end(void) {
  done = counts;
  counts = true;
}

static void look_for_marks(const struct tracee *t, const struct __ptrace_syscall_info *info) {
  if (t->pid != program) return;
  if (info->entry.nr == SYS_mmap && info->entry.args[3] & MAP_POPULATE) counts = true;
  if (info->entry.nr != SYS_unlink) return;
  long word = ptrace(PTRACE_PEEKDATA, t->pid, info->entry.args[0], 0);
  if (memcmp(&word, "/faults+", sizeof word) == 0) counts = true;
  if (memcmp(&word, "/faults-", sizeof word) == 0) done = true;
}

static void at_call(struct tracee *t) {
  struct __ptrace_syscall_info info;
  if (ptrace(PTRACE_GET_SYSCALL_INFO, t->pid, sizeof info, &info) <= 0) return;
  if (info.op == PTRACE_SYSCALL_INFO_EXIT && t->failing) {
    if (call == SYS_brk) ptrace(PTRACE_POKEUSER, t->pid, offsetof(struct user, regs.rdi), t->argument);
    else ptrace(PTRACE_POKEUSER, t->pid, offsetof(struct user, regs.rax), (long)-wrong);
    t->failing = false;
  }
  if (info.op != PTRACE_SYSCALL_INFO_ENTRY || info.entry.nr >= CALLS || done) return;
  bool counted = counts;
  look_for_marks(t, &info);
  if (!counted || done) return;
  if (!process) dprintf(3, "call %d %d\n", t->number, (int)info.entry.nr);
  if (t->number != process || (int)info.entry.nr != call || ++t->count[call] != ordinal) return;
  dprintf(3, "call %d %d\n", t->number, call);
  done = true;
  if (call == SYS_brk) { /* the kernel says no by the old end of the heap, as it does to a question for it */
    t->argument = (long)info.entry.args[0];
    ptrace(PTRACE_POKEUSER, t->pid, offsetof(struct user, regs.rdi), 0L);
  } else if (call != SYS_close) { /* that closes its descriptor whatever it returns */
    ptrace(PTRACE_POKEUSER, t->pid, offsetof(struct user, regs.orig_rax), -1L);
  }
  t->failing = true;
}

static void at_birth(const struct tracee *parent) {
  unsigned long pid;
  ptrace(PTRACE_GETEVENTMSG, parent->pid, 0, &pid);
  struct tracee *child = find((pid_t)pid);
  if (parent->number && counts) child->number = ++born;
  child->fresh = !child->waits;
  if (child->waits) go_on(child, 0);
  child->waits = false;
}

/* Whose parent was killed before it could tell of this birth: it came to this process. */
static bool is_orphan(pid_t pid) {
  char path[32], text[512], *end;
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  FILE *file = fopen(path, "r");
  if (!file) return false;
  text[fread(text, 1, sizeof text - 1, file)] = 0;
  fclose(file);
  end = strrchr(text, ')');
  return end && atoi(end + 3) == getpid(); /* ") S PARENT" */
}

static void look_after_orphans(void) {
  for (int i = 0; i < alive; i++) {
    if (!tracees[i].waits || !is_orphan(tracees[i].pid)) continue;
    tracees[i].waits = false;
    go_on(&tracees[i], 0);
  }
}

static void at_stop(struct tracee *t, int status, bool is_new) {
  int number = WSTOPSIG(status), event = status >> 16;
  if (is_new) {
    t->waits = true;
    look_after_orphans();
    return;
  }
  if (t->fresh) t->fresh = false;
  else if (number == (SIGTRAP | 0x80)) at_call(t);
  else if (event == PTRACE_EVENT_EXEC && t->pid != program && !strstr(image_of(t->pid), "memfd:casulo-init")) t->number = 0;
  else if (event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK) at_birth(t);
  else if (event == 0 && number == SIGURG && t->pid == program) begin_or_end();
  else if (event == 0) {
    go_on(t, number);
    return;
  }
  go_on(t, 0);
}

static void at_end(struct tracee *t, int status) {
  if (t->pid == program) {
    dprintf(3, WIFEXITED(status) ? "end exit %d\n" : "end signal %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    program = 0;
    alarm(AFTERWARDS);
  }
  forget(t);
  look_after_orphans();
}

/* Whoever is left would be nobody's: this process is the one that orphans come to. */
static void clear_away(void) {
  if (program) dprintf(3, "hang\n");
  for (int i = 0; i < alive; i++) {
    if (tracees[i].pid != program) dprintf(3, "left %s\n", image_of(tracees[i].pid));
    kill(tracees[i].pid, SIGKILL);
  }
  while (waitpid(-1, NULL, __WALL) > 0 || errno == EINTR) {}
}

static void follow(void) {
  while (!late) {
    int status;
    pid_t pid = waitpid(-1, &status, __WALL);
    if (pid == -1 && errno == EINTR) continue;
    if (pid == -1) return;
    int before = alive;
    struct tracee *t = find(pid);
    if (WIFSTOPPED(status)) at_stop(t, status, alive > before);
    else at_end(t, status);
  }
  clear_away();
}

static void begin(char **argv) {
  uid_t uid = (uid_t)atoi(argv[1]);
  ptrace(PTRACE_TRACEME, 0, 0, 0);
  if (uid != 0 && (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid))) exit(125);
  raise(SIGSTOP);
  close(3);
  execvp(argv[7], argv + 7);
  exit(125);
}

int main(int argc, char **argv) {
  if (argc < 8) return 125;
  early = atoi(argv[2]);
  process = atoi(argv[3]);
  call = atoi(argv[4]);
  ordinal = atoi(argv[5]);
  wrong = atoi(argv[6]);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  sigaction(SIGALRM, &(struct sigaction){ .sa_handler = on_alarm }, NULL);
  program = fork();
  if (program == 0) begin(argv);
  waitpid(program, NULL, __WALL);
  ptrace(PTRACE_SETOPTIONS, program, 0,
         PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL);
  find(program)->number = ++born;
  alarm(PATIENCE);
  go_on(tracees, 0);
  follow();
  return 0;
}
