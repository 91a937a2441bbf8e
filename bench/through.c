// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "through.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Since Linux 6.3, and not in the headers of today. */
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

enum { REPORT = 3 }; /* the number of its pipe in casulo-init */

static struct { char bytes[65536]; size_t size; } image;
static int init, report[2];

const char *through_load(const char *path) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t size = file == -1 ? -1 : read(file, image.bytes, sizeof image.bytes);
  if (size == -1) return path;
  image.size = (size_t)size;
  close(file);
  return NULL;
}

const char *through_open(int *highest) {
  if (pipe2(report, O_CLOEXEC) == -1) return "pipe2";
  int file = memfd_create("casulo-init", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
  if (file == -1) return "memfd_create";
  if (write(file, image.bytes, image.size) != (ssize_t)image.size) return "write";
  if (fcntl(file, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_EXEC) == -1) return "fcntl";
  init = fcntl(file, F_DUPFD_CLOEXEC, REPORT + 1);
  close(file);
  if (*highest < report[1]) *highest = report[1];
  if (*highest < init) *highest = init;
  return init == -1 ? "fcntl" : NULL;
}

const char *through_execute(void) {
  char *const argv[] = { "casulo-init", NULL }, *const environment[] = { NULL };
  if (dup3(report[1], REPORT, 0) == -1) return "dup3";
  syscall(SYS_execveat, init, "", argv, environment, AT_EMPTY_PATH);
  return "execveat";
}

/* casulo-init says something only where it fails. */
const char *through_wait(void) {
  char record[64];
  close(report[1]);
  if (poll(&(struct pollfd){ .fd = report[0], .events = POLLIN }, 1, -1) == -1) return "poll";
  if (read(report[0], record, sizeof record) != 0) {
    errno = ECANCELED;
    return "casulo-init";
  }
  close(report[0]);
  close(init);
  return NULL;
}
