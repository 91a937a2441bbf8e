// SPDX-License-Identifier: MIT
/* Images: casulo-init with a program for it, in one file to be executed. */
#include "image.h"

#include <elf.h>
#include <limits.h>
#include <string.h>

#include "lib.h"
#include "program.h"

/* The file that the build has made. */
__asm__(".section .rodata\n.balign 16\ncasulo_init: .incbin \"build/casulo-init\"\ncasulo_init_end:\n.previous\n");
extern const char casulo_init[] __attribute__((visibility("hidden")));
extern const char casulo_init_end[] __attribute__((visibility("hidden")));

/* The last segment, which begins with the struct image. */
static const Elf64_Phdr *image_segment(lua_State *L) {
  const Elf64_Ehdr *file = (const void *)casulo_init;
  const Elf64_Phdr *segment = (const void *)(casulo_init + file->e_phoff), *last = NULL;
  for (int i = 0; i < file->e_phnum; i++)
    if (segment[i].p_type == PT_LOAD) last = &segment[i];
  const struct image *image = last ? (const void *)(casulo_init + last->p_offset) : NULL;
  if (!image || last->p_memsz != sizeof *image || last->p_filesz != sizeof *image || image->magic != IMAGE_MAGIC) luaL_error(L, "image: casulo-init was built wrongly");
  return last;
}

static lua_Integer setting(lua_State *L, const char *name, lua_Integer least, lua_Integer most, lua_Integer absent) {
  lua_Integer value = absent;
  if (lua_getfield(L, 2, name) != LUA_TNIL) {
    const char *wrong = integer_of(L, lua_gettop(L), least, most, &value);
    if (wrong) luaL_argerror(L, 2, lua_pushfstring(L, "%s: %s", name, wrong));
  }
  lua_pop(L, 1);
  return value;
}

/* Every pointer of the program leads to where casulo-init will have it. */
static void place(struct packed *packed, struct image *image, char *steps, uint64_t address) {
  const uint64_t from = (uintptr_t)packed->program.op;
  memcpy(steps, packed->program.op, packed->size);
  for (int i = 0; i < packed->pointers; i++) {
    uint64_t pointer;
    memcpy(&pointer, steps + packed->pointer[i], sizeof pointer);
    pointer = pointer - from + address;
    memcpy(steps + packed->pointer[i], &pointer, sizeof pointer);
  }
  memset(steps + ((char *)packed->program.value - (char *)packed->program.op), 0, (size_t)packed->program.count * sizeof(long));
  image->program.count = packed->program.count;
  image->program.op = (void *)(uintptr_t)address; /* NOLINT: an address in another process */
  image->program.value = (void *)(uintptr_t)(address + ((uintptr_t)packed->program.value - from)); /* NOLINT */
}

/*** casulo-init with a program for it, as the bytes of a file to be executed.
@function image
@tparam program program without inputs
@tparam table settings `fork`: how many of its steps casulo-init walks itself, where a child walks the others (all: it becomes the
command); `report` (required): the descriptor that a record goes to when the command is started, or cannot be; at the other end of
the next one, a byte ends the command (SIGKILL), stops it (SIGSTOP) or lets it outlive its caller (any other); `watches`: whether
the command is to end with the caller, its parent; `is_init`: whether it is PID 1; `grace`: milliseconds
between TERM and KILL for what is left when the command has ended (0)
@treturn string
*/
static int sys_image(lua_State *L) {
  arg_count(L, 2);
  struct packed *packed = luaL_checkudata(L, 1, PROGRAM);
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_argcheck(L, packed->inputs == 0, 1, "a program without inputs is expected: casulo-init is given no values");
  const Elf64_Phdr *segment = image_segment(L);
  struct image image = { .magic = IMAGE_MAGIC };
  image.fork = (int)setting(L, "fork", 0, packed->program.count, packed->program.count);
  image.report = (int)setting(L, "report", 0, INT_MAX - 2, -1);
  luaL_argcheck(L, image.report >= 0, 2, "report: expected an integer");
  image.control = image.report + 1;
  image.caller = -1;
  image.grace = setting(L, "grace", 0, INT_MAX, 0);
  lua_getfield(L, 2, "watches");
  image.watches = lua_toboolean(L, -1);
  lua_getfield(L, 2, "is_init");
  image.is_init = lua_toboolean(L, -1);
  luaL_Buffer buffer;
  size_t size = segment->p_offset + sizeof image + packed->size;
  char *file = luaL_buffinitsize(L, &buffer, size);
  memcpy(file, casulo_init, segment->p_offset);
  Elf64_Ehdr *header = (void *)file;
  Elf64_Phdr *own = (void *)(file + ((const char *)segment - casulo_init));
  own->p_filesz = own->p_memsz = sizeof image + packed->size;
  header->e_shoff = 0;
  header->e_shnum = header->e_shstrndx = 0;
  place(packed, &image, file + segment->p_offset + sizeof image, segment->p_vaddr + sizeof image);
  memcpy(file + segment->p_offset, &image, sizeof image);
  luaL_pushresultsize(&buffer, size);
  return 1;
}

/*** The record that casulo-init wrote, in parts.
@function image_report
@tparam string bytes
@treturn ?integer the number of the step that failed; past the last one: clone(2), signalfd(2), mmap(2); 0 where the bytes are no
record; nil where the command was started
@treturn integer its errno; 0: it returned another result than the expected
@treturn {integer,...} what the steps returned, as far as it came
*/
static int sys_image_report(lua_State *L) {
  arg_count(L, 1);
  struct record record;
  size_t size;
  luaL_checktype(L, 1, LUA_TSTRING);
  const char *bytes = lua_tolstring(L, 1, &size);
  memset(&record, 0, sizeof record);
  if (size >= sizeof record) memcpy(&record, bytes, sizeof record);
  if (record.failed || size < sizeof record) lua_pushinteger(L, record.failed);
  else luaL_pushfail(L);
  lua_pushinteger(L, record.error);
  lua_newtable(L);
  for (int i = 0; i < record.at && sizeof record + ((size_t)i + 1) * sizeof(long) <= size; i++) {
    long value;
    memcpy(&value, bytes + sizeof record + (size_t)i * sizeof value, sizeof value);
    lua_pushinteger(L, value);
    lua_rawseti(L, -2, i + 1);
  }
  return 3;
}

static const luaL_Reg functions[] = { { "image", sys_image }, { "image_report", sys_image_report }, { NULL, NULL } };

void open_image(lua_State *L) { luaL_setfuncs(L, functions, 0); }
