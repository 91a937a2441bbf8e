// SPDX-License-Identifier: MIT
/* Mounts: mount(2) and its kin, and the calls that make, change and attach mounts by descriptor. */
#define _GNU_SOURCE
#include "lib.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

/*** Mounts a file system, binds, moves or changes a mount.
@function mount
@tparam ?string source
@tparam string target
@tparam ?string fstype
@tparam integer flags MS_…
@tparam ?string data options of the file system
@see mount(2)
*/
static int sys_mount(lua_State *L) {
  arg_count(L, 5);
  const char *source = arg_string_or_null(L, 1), *target = arg_string(L, 2), *type = arg_string_or_null(L, 3);
  unsigned long flags = (unsigned long)arg_range(L, 4, 0, INT64_MAX);
  const char *data = arg_string_or_null(L, 5);
  int result = mount(source, target, type, flags, data), err = errno;
  if (!source) return sys_status(L, result, err, "mount on %s", target);
  return sys_status(L, result, err, "mount %s on %s", source, target);
}

/*** Takes a mount away.
@function umount2
@tparam string target
@tparam integer flags MNT_…, or 0
@see umount2(2)
*/
static int sys_umount2(lua_State *L) {
  arg_count(L, 2);
  const char *target = arg_string(L, 1);
  int result = umount2(target, arg_int(L, 2)), err = errno;
  return sys_status(L, result, err, "umount2 %s", target);
}

/*** Changes the root mount.
@function pivot_root
@tparam string new_root
@tparam string put_old
@see pivot_root(2)
*/
static int sys_pivot_root(lua_State *L) {
  arg_count(L, 2);
  const char *new_root = arg_string(L, 1), *put_old = arg_string(L, 2);
  int result = (int)syscall(SYS_pivot_root, new_root, put_old), err = errno;
  return sys_status(L, result, err, "pivot_root %s, old root on %s", new_root, put_old);
}

/*** Opens a place in the tree of mounts, or a detached copy of it.
@function open_tree
@tparam descriptor dirfd or AT_FDCWD
@tparam string path
@tparam integer flags OPEN_TREE_…, AT_…
@treturn descriptor
@see open_tree(2)
*/
static int sys_open_tree(lua_State *L) {
  arg_count(L, 3);
  int dirfd = arg_fd(L, 1);
  const char *path = arg_string(L, 2);
  unsigned flags = arg_uint(L, 3) | OPEN_TREE_CLOEXEC;
  int *descriptor = descriptor_new(L);
  int fd = open_tree(dirfd, path, flags), err = errno;
  return sys_descriptor(L, descriptor, fd, err, "open_tree %s", path);
}

/*** Attaches a detached mount, or moves one.
@function move_mount
@tparam descriptor from_dirfd
@tparam string from
@tparam descriptor to_dirfd
@tparam string to
@tparam integer flags MOVE_MOUNT_…
@see move_mount(2)
*/
static int sys_move_mount(lua_State *L) {
  arg_count(L, 5);
  int from_dirfd = arg_fd(L, 1), to_dirfd = arg_fd(L, 3);
  const char *from = arg_string(L, 2), *to = arg_string(L, 4);
  int result = move_mount(from_dirfd, from, to_dirfd, to, arg_uint(L, 5)), err = errno;
  return sys_status(L, result, err, "move_mount %s to %s", *from ? from : "a descriptor", to);
}

/*** Begins a new file system.
@function fsopen
@tparam string fstype
@tparam integer flags 0
@treturn descriptor
@see fsopen(2)
*/
static int sys_fsopen(lua_State *L) {
  arg_count(L, 2);
  const char *type = arg_string(L, 1);
  unsigned flags = arg_uint(L, 2) | FSOPEN_CLOEXEC;
  int *descriptor = descriptor_new(L);
  int fd = fsopen(type, flags), err = errno;
  return sys_descriptor(L, descriptor, fd, err, "fsopen %s", type);
}

/*** Sets an option of a new file system, or makes it.
@function fsconfig
@tparam descriptor fd of fsopen
@tparam integer command FSCONFIG_…
@tparam ?string key
@tparam ?string value
@tparam[opt=0] integer aux
@see fsconfig(2)
*/
static int sys_fsconfig(lua_State *L) {
  arg_count(L, 5);
  int fd = arg_fd(L, 1);
  unsigned command = arg_uint(L, 2);
  const char *key = arg_string_or_null(L, 3), *value = arg_string_or_null(L, 4);
  int aux = lua_isnoneornil(L, 5) ? 0 : arg_fd(L, 5);
  int result = fsconfig(fd, command, key, value, aux), err = errno;
  if (!key) return sys_status(L, result, err, "fsconfig");
  return sys_status(L, result, err, "fsconfig %s=%s", key, name_or_null(value));
}

/*** Makes a detached mount of a new file system.
@function fsmount
@tparam descriptor fd of fsopen
@tparam integer flags 0
@tparam integer attributes MOUNT_ATTR_…
@treturn descriptor
@see fsmount(2)
*/
static int sys_fsmount(lua_State *L) {
  arg_count(L, 3);
  int fd = arg_fd(L, 1);
  unsigned flags = arg_uint(L, 2) | FSMOUNT_CLOEXEC, attributes = arg_uint(L, 3);
  int *descriptor = descriptor_new(L);
  int mount_fd = fsmount(fd, flags, attributes), err = errno;
  return sys_descriptor(L, descriptor, mount_fd, err, "fsmount");
}

/* { attr_set, attr_clr, propagation, userns_fd }, which is struct mount_attr */
static void mount_attr_of(lua_State *L, int index, uint64_t attributes[4]) {
  int fd;
  for (int i = 0; i < 3; i++) {
    lua_Integer value = 0;
    lua_rawgeti(L, index, i + 1);
    const char *wrong = integer_of(L, -1, 0, INT64_MAX, &value);
    if (wrong) luaL_argerror(L, index, wrong);
    attributes[i] = (uint64_t)value;
    lua_pop(L, 1);
  }
  lua_rawgeti(L, index, 4);
  luaL_argcheck(L, fd_of(L, -1, &fd), index, "userns_fd: expected a descriptor, file or integer");
  lua_pop(L, 1);
  attributes[3] = (uint64_t)fd;
}

/*** Sets attributes of a mount.
@function mount_setattr
@tparam descriptor dirfd or AT_FDCWD
@tparam string path
@tparam integer flags AT_EMPTY_PATH, AT_RECURSIVE
@tparam string|table attributes struct mount_attr: four 64-bit integers, attr_set, attr_clr, propagation, userns_fd; or a list of
them, in which the last is a descriptor
@see mount_setattr(2)
*/
static int sys_mount_setattr(lua_State *L) {
  arg_count(L, 4);
  int dirfd = arg_fd(L, 1);
  const char *path = arg_string(L, 2);
  unsigned flags = arg_uint(L, 3);
  uint64_t made[4];
  const char *attributes = (const char *)made;
  size_t size = sizeof made;
  if (lua_istable(L, 4)) {
    mount_attr_of(L, 4, made);
  } else {
    luaL_argexpected(L, lua_type(L, 4) == LUA_TSTRING, 4, "string or table");
    attributes = lua_tolstring(L, 4, &size);
    luaL_argcheck(L, size >= MOUNT_ATTR_SIZE_VER0, 4, "struct mount_attr has 32 bytes or more");
  }
  int result = (int)syscall(SYS_mount_setattr, dirfd, path, flags, attributes, size), err = errno;
  return sys_status(L, result, err, "mount_setattr %s", *path ? path : "of a descriptor");
}

/*** Changes the root directory of this process.
@function chroot
@tparam string path
@see chroot(2)
*/
static int sys_chroot(lua_State *L) {
  arg_count(L, 1);
  const char *path = arg_string(L, 1);
  int result = chroot(path), err = errno;
  return sys_status(L, result, err, "chroot %s", path);
}

/*** Changes the working directory.
@function chdir
@tparam string path
@see chdir(2)
*/
static int sys_chdir(lua_State *L) {
  arg_count(L, 1);
  const char *path = arg_string(L, 1);
  int result = chdir(path), err = errno;
  return sys_status(L, result, err, "chdir %s", path);
}

/*** Changes the working directory to an open one.
@function fchdir
@tparam descriptor fd
@see fchdir(2)
*/
static int sys_fchdir(lua_State *L) {
  arg_count(L, 1);
  int fd = arg_fd(L, 1);
  int result = fchdir(fd), err = errno;
  return sys_status(L, result, err, "fchdir %d", fd);
}

static const luaL_Reg functions[] = {
  { "mount", sys_mount },       { "umount2", sys_umount2 },   { "pivot_root", sys_pivot_root },
  { "open_tree", sys_open_tree }, { "move_mount", sys_move_mount }, { "fsopen", sys_fsopen },
  { "fsconfig", sys_fsconfig }, { "fsmount", sys_fsmount },   { "mount_setattr", sys_mount_setattr },
  { "chroot", sys_chroot },     { "chdir", sys_chdir },       { "fchdir", sys_fchdir },
  { NULL, NULL },
};

void open_mount(lua_State *L) { luaL_setfuncs(L, functions, 0); }
