// SPDX-License-Identifier: MIT
/* The measure for casulo's starts: the same containers by the same system calls, written by hand for speed. The child
 * shares our memory until it executes, as a child of vfork(2) does. spec/bench_spec.lua holds its calls to those of casulo.
 *
 * usage: by_hand ROOT/ COMMAND [ARGUMENT…]
 * For each "KIND COUNT" on standard input, starts so many containers, waits for each, and writes a line of microseconds.
 * usage: by_hand --through DIRECTORY ROOT/ COMMAND
 * The same by way of casulo-init, whose image for each KIND, with the command in it, is the file of that name.
 * usage: by_hand KIND ROOT/ COMMAND [ARGUMENT…]
 * One container.
 * KIND is four, six or whole. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../src/clone3.h"
#include "through.h"

enum { FOUR, SIX, WHOLE };
enum { SAFE = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC };

static int kind;
static const char *root;
static char **command;
static char *environment[] = { "HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                               "TERM=dumb", NULL };
static const char *const nodes[] = { "null", "zero", "full", "random", "urandom", "tty" };
enum { NODES = sizeof nodes / sizeof *nodes };
static const char *images; /* a directory; where there is none, the command is executed here */
static int caller;         /* a pidfd of this process */
static int highest;        /* the last descriptor that the child needs */

static const char *failed_call; /* written by the child */
static int failed_errno;

static int checked(long result, const char *call) {
  if (result != -1) return (int)result;
  failed_errno = errno;
  failed_call = call;
  _exit(125);
}
#define DO(call) checked((call), #call)

static void die_with_caller(void) {
  struct pollfd life = { .fd = caller, .events = POLLIN };
  DO(prctl(PR_SET_PDEATHSIG, SIGKILL));
  if (DO(syscall(SYS_ppoll, &life, 1, &(struct timespec){ 0 }, NULL, 0)) != 0) _exit(125);
}

static int device_in_sight(const char *node) {
  char path[32];
  struct mount_attr harmless = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC };
  snprintf(path, sizeof path, "/dev/%s", node);
  int device = DO(open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | AT_RECURSIVE | OPEN_TREE_CLOEXEC));
  DO(mount_setattr(device, "", AT_EMPTY_PATH | AT_RECURSIVE, &harmless, sizeof harmless));
  return device;
}

/* A file system that has no place yet; settings are names and values, ended by NULL. */
static int filesystem(const char *type, unsigned attributes, const char *const *settings) {
  int context = DO(fsopen(type, FSOPEN_CLOEXEC));
  for (; *settings; settings += 2) DO(fsconfig(context, FSCONFIG_SET_STRING, settings[0], settings[1], 0));
  DO(fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
  return DO(fsmount(context, FSMOUNT_CLOEXEC, attributes));
}
#define SETTINGS(...) ((const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })

static void enter(int tree) {
  DO(fchdir(tree));
  DO(syscall(SYS_pivot_root, ".", "."));
  DO(umount2(".", MNT_DETACH));
  DO(chdir("/"));
}

static void directory(const char *path) {
  if (mkdirat(AT_FDCWD, path, 0755) == -1 && errno != EEXIST) DO(-1);
}

static void attach_in(int directory, int mount, const char *path) {
  DO(move_mount(mount, "", directory, path, MOVE_MOUNT_F_EMPTY_PATH));
}

static void attach_device(int dev, int device, const char *node) {
  DO(mknodat(dev, node, S_IFREG | 0644, 0));
  attach_in(dev, device, node);
}

static void attach_carefully(int mount, const char *path) {
  struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_MAGICLINKS };
  int place = DO(syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how));
  DO(move_mount(mount, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
}

static int copy_of(int mount, const char *path) {
  return DO(open_tree(mount, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (*path ? 0 : AT_EMPTY_PATH)));
}

static int exists(const char *path) { return access(path, F_OK) == 0; }

/* What there is of lua/casulo/recipes/masks.lua was looked for before the start. */
static const char *const readonly[] = { "bus", "dynamic_debug", "fs", "irq", "sys", "sysrq-trigger" };
static const char *const hidden_directories[] = { "acpi", "asound", "scsi" };
static const char *const hidden_files[] = { "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "timer_list", "timer_stats" };
#define COUNT(array) (int)(sizeof(array) / sizeof *(array))
static int has_readonly[COUNT(readonly)], has_directory[COUNT(hidden_directories)], has_file[COUNT(hidden_files)], has_firmware, has_powercap;

static void look(const char *const *names, int *has, int count) {
  for (int i = 0; i < count; i++) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%s", names[i]);
    has[i] = exists(path);
  }
}

static void look_for_masks(void) {
  look(readonly, has_readonly, COUNT(readonly));
  look(hidden_directories, has_directory, COUNT(hidden_directories));
  look(hidden_files, has_file, COUNT(hidden_files));
  has_powercap = exists("/sys/devices/virtual/powercap");
  has_firmware = exists("/sys/firmware");
}

static void over(int cover, int mount, const char *path) { DO(move_mount(cover, "", mount, path, MOVE_MOUNT_F_EMPTY_PATH)); }

/* `null` has no place yet where there is no /dev. */
static void mask(int proc, int sysfs, int null, int is_attached) {
  struct mount_attr attributes = { .attr_set = MOUNT_ATTR_RDONLY };
  for (int i = 0; i < COUNT(readonly); i++)
    if (has_readonly[i]) {
      int tree = DO(open_tree(proc, readonly[i], OPEN_TREE_CLONE | AT_RECURSIVE | OPEN_TREE_CLOEXEC));
      DO(mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes));
      over(tree, proc, readonly[i]);
    }
  for (int i = 0; i < 2; i++)
    if (has_directory[i]) over(copy_of(proc, "tty/ldisc"), proc, hidden_directories[i]);
  for (int i = 0; i < COUNT(hidden_files); i++) {
    if (i == 5 && has_directory[2]) over(copy_of(proc, "tty/ldisc"), proc, hidden_directories[2]); /* in the order of the alphabet */
    if (!has_file[i]) continue;
    over(is_attached ? copy_of(null, "") : null, proc, hidden_files[i]);
    is_attached = 1;
  }
  if (sysfs != -1 && has_powercap) over(copy_of(proc, "tty/ldisc"), sysfs, "devices/virtual/powercap");
  if (sysfs != -1 && has_firmware) over(copy_of(proc, "tty/ldisc"), sysfs, "firmware");
}

static void only_proc(int tree) {
  int null = device_in_sight("null");
  DO(move_mount(tree, "", AT_FDCWD, root, MOVE_MOUNT_F_EMPTY_PATH));
  int proc = filesystem("proc", SAFE, SETTINGS());
  enter(tree);
  directory("/proc");
  attach_carefully(proc, "/proc");
  mask(proc, -1, null, 0);
}

static void standard_mounts(int tree) {
  int device[NODES];
  for (int i = 0; i < NODES; i++) device[i] = device_in_sight(nodes[i]);
  DO(move_mount(tree, "", AT_FDCWD, root, MOVE_MOUNT_F_EMPTY_PATH));
  int sysfs = filesystem("sysfs", SAFE | MOUNT_ATTR_RDONLY, SETTINGS());
  int dev = filesystem("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, SETTINGS("mode", "755", "size", "64k"));
  int devpts = filesystem("devpts", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, SETTINGS("ptmxmode", "0666", "mode", "0620", "gid", "5"));
  int shm = filesystem("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, SETTINGS("mode", "1777", "size", "64m"));
  int proc = filesystem("proc", SAFE, SETTINGS());
  enter(tree);
  directory("/sys");
  directory("/dev");
  directory("/proc");
  attach_in(AT_FDCWD, sysfs, "/sys");
  attach_in(AT_FDCWD, dev, "/dev");
  for (int i = 0; i < NODES; i++) attach_device(dev, device[i], nodes[i]);
  DO(symlinkat("/proc/self/fd", dev, "fd"));
  DO(symlinkat("/proc/self/fd/0", dev, "stdin"));
  DO(symlinkat("/proc/self/fd/1", dev, "stdout"));
  DO(symlinkat("/proc/self/fd/2", dev, "stderr"));
  DO(symlinkat("pts/ptmx", dev, "ptmx"));
  DO(mkdirat(dev, "pts", 0755));
  attach_in(dev, devpts, "pts");
  DO(mkdirat(dev, "shm", 0755));
  attach_in(dev, shm, "shm");
  attach_in(AT_FDCWD, proc, "/proc");
  mask(proc, sysfs, device[0], 1);
}

static void loopback(void) {
  struct ifreq up = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
  int any = DO(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  DO(ioctl(any, SIOCSIFFLAGS, &up));
  DO(close(any));
}

/* The filter that casulo installs. */
static struct sock_filter filter[] = {
#include "../build/bench/filter.h"
};

/* Whether the caller's place in the OOM killer's list is the usual one. */
static int score_is_usual;

/* What else is the caller's. */
static void set_usual(void) {
  DO(setpriority(PRIO_PROCESS, 0, 0));
  DO(personality(PER_LINUX));
  if (!score_is_usual) {
    int score = DO(open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
    DO(write(score, "0", 1));
    DO(close(score));
  }
  DO(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL));
}

/* Capabilities that are kept: those of lua/casulo/capabilities.lua. */
enum {
  KEPT = 1 << CAP_CHOWN | 1 << CAP_DAC_OVERRIDE | 1 << CAP_FOWNER | 1 << CAP_FSETID | 1 << CAP_KILL | 1 << CAP_SETGID | 1 << CAP_SETUID
         | 1 << CAP_SETPCAP | 1 << CAP_NET_BIND_SERVICE | 1 << CAP_SYS_CHROOT
};

static void drop_rights(void) {
  struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
  struct __user_cap_data_struct sets[2] = { { .effective = KEPT, .permitted = KEPT } };
  for (int number = 0; number <= CAP_LAST_CAP; number++)
    if (number > 31 || !(KEPT & 1U << number)) DO(prctl(PR_CAPBSET_DROP, number));
  DO(syscall(SYS_capset, &header, sets));
  DO(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static void default_signals(void) {
  for (int number = 1; number <= 64; number++)
    if (number != SIGKILL && number != SIGSTOP) {
      struct { unsigned long handler, flags, restorer, mask; } action = { 0 };
      DO(syscall(SYS_rt_sigaction, number, &action, NULL, sizeof action.mask));
    }
}

static void child(void *unused) {
  (void)unused;
  DO(close_range((unsigned)highest + 1, ~0U, CLOSE_RANGE_UNSHARE)); /* until here the descriptors are shared */
  default_signals();
  die_with_caller();
  DO(setsid());
  umask(022);
  set_usual();
  DO(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
  int tree = DO(open_tree(AT_FDCWD, root, OPEN_TREE_CLONE | AT_RECURSIVE | OPEN_TREE_CLOEXEC));
  DO(mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &(struct mount_attr){ .attr_set = MOUNT_ATTR_NODEV }, sizeof(struct mount_attr)));
  if (kind == WHOLE) standard_mounts(tree);
  else only_proc(tree);
  if (kind != FOUR) loopback();
  DO(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &(struct sock_fprog){ sizeof filter / sizeof *filter, filter }));
  DO(syscall(SYS_setgroups, 0, &(gid_t){ 0 }));
  DO(close_range(3, ~0U, CLOSE_RANGE_CLOEXEC));
  if (images) checked(-1, through_execute());
  drop_rights(); /* otherwise in casulo-init; here the caller's executable stays within reach */
  DO(chdir("/"));
  DO(sigprocmask(SIG_SETMASK, &(sigset_t){ 0 }, NULL));
  DO(execve(command[0], command, environment));
}

static void give_up(const char *what, int error) {
  fprintf(stderr, "by_hand: %s: %s\n", what, strerror(error));
  exit(1);
}

static void look_at_score(void) {
  char score[16];
  int file = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);
  if (file == -1) give_up("oom_score_adj", errno);
  score_is_usual = read(file, score, sizeof score) == 2 && score[0] == '0';
  close(file);
}

static void check_way(const char *failed) {
  if (failed) give_up(failed, errno);
}

/* Starts one container and waits for its end. */
static void run(void) {
  static _Alignas(16) char stack[65536];
  sigset_t all, old;
  siginfo_t end;
  int pidfd = -1;
  struct clone_args args = {
    .flags = CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_CLEAR_SIGHAND | CLONE_PIDFD | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC,
    .exit_signal = SIGCHLD,
    .pidfd = (uintptr_t)&pidfd,
    .stack = (uintptr_t)stack,
    .stack_size = sizeof stack,
  };
  if (kind != FOUR) args.flags |= CLONE_NEWNET | CLONE_NEWCGROUP;
  look_at_score();
  highest = caller = pidfd_open(getpid(), 0);
  if (caller == -1) give_up("pidfd_open", errno);
  if (images) check_way(through_open(&highest));
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, &old);
  long pid = clone3_on_stack(&args, child, NULL);
  sigprocmask(SIG_SETMASK, &old, NULL);
  if (pid < 0) give_up("clone3", (int)-pid);
  if (failed_call) give_up(failed_call, failed_errno);
  if (images) check_way(through_wait());
  close(caller);
  if (poll(&(struct pollfd){ .fd = pidfd, .events = POLLIN }, 1, -1) == -1) give_up("poll", errno);
  if (waitid(P_PIDFD, (id_t)pidfd, &end, WEXITED | __WALL) == -1) give_up("waitid", errno);
  if (end.si_code != CLD_EXITED || end.si_status != 0) give_up("the command failed", 0);
  close(pidfd);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static int kind_of(const char *name) {
  if (strcmp(name, "four") == 0) return FOUR;
  if (strcmp(name, "six") == 0) return SIX;
  if (strcmp(name, "whole") != 0) give_up(name, EINVAL);
  return WHOLE;
}

static void load_image(const char *name) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", images, name);
  check_way(through_load(path));
}

/* As the standard input says. */
static void run_many(void) {
  char line[64], name[16];
  long count;
  while (fgets(line, sizeof line, stdin)) {
    if (sscanf(line, "%15s %ld", name, &count) != 2) give_up("expected KIND COUNT", EINVAL);
    kind = kind_of(name);
    if (images) load_image(name);
    for (; count > 0; count--) {
      double started = now();
      run();
      printf("%.1f ", now() - started);
    }
    puts("");
    fflush(stdout);
  }
}

int main(int argc, char **argv) {
  if (argc < 3) give_up("usage: by_hand [KIND] ROOT/ COMMAND", EINVAL);
  if (argc > 3 && strcmp(argv[1], "--through") == 0) {
    images = argv[2];
    argv += 2;
  }
  bool once = !images && argc > 3 && argv[1][0] != '/';
  if (once) kind = kind_of(*++argv);
  root = argv[1];
  command = argv + 2;
  look_for_masks();
  if (once) run();
  else run_many();
  return 0;
}
