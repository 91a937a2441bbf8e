// SPDX-License-Identifier: MIT
/* Prints lua/casulo/syscalls.lua: the numbers of system calls, from libseccomp's tables. They are the kernel's interface, and do
 * not change: a number that is given is given for good. */
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HIGHEST = 450, WIDTH = 130 };

enum { ARM_FIRST = 0x0f0001, ARM_LAST = 0x0f0006 }; /* those of ARM only */

static int column;

static void print_calls(unsigned architecture, int first, int last) {
  for (int number = first; number <= last; number++) {
    char *call = seccomp_syscall_resolve_num_arch(architecture, number);
    if (!call) continue;
    if (column + (int)strlen(call) > WIDTH) column = printf("\n   ") - 1;
    column += printf(strcmp(call, "break") == 0 ? " [\"%s\"] = %d," : " %s = %d,", call, number); /* a word of Lua's */
    free(call);
  }
}

static void print_machine(const char *name, unsigned architecture) {
  column = printf("  %s = {\n   ", name) - 4;
  print_calls(architecture, 0, HIGHEST);
  if (architecture == SCMP_ARCH_ARM) print_calls(architecture, ARM_FIRST, ARM_LAST);
  printf("\n  },\n");
}

int main(void) {
  printf("-- SPDX-License-Identifier: MIT\n\n"
         "--- The numbers of system calls by machine and name, as far as Linux 5.17 has them. Made by src/filter/syscalls.c.\n"
         "-- @module casulo.syscalls\n\nreturn {\n");
  print_machine("x86_64", SCMP_ARCH_X86_64);
  print_machine("i386", SCMP_ARCH_X86);
  print_machine("aarch64", SCMP_ARCH_AARCH64);
  print_machine("arm", SCMP_ARCH_ARM);
  printf("}\n");
  return ferror(stdout) ? 1 : 0;
}
