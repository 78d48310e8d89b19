/*
 * A SQLite VFS in memory that can lose what was not synced; see disk.h.
 *
 * A file has its current content and the list of writes since the last sync. A crash starts from
 * the synced content and applies each of those writes with a chance of one half. Locks and shared
 * memory are per run of the machine: a crash voids them
 * (`generation`), and handles of dead processes are never used again.
 */
#include "tests/sim/disk.h"

#include <sqlite3.h>

#include "common/time.h"

#define FILES_MAX 16
#define SHM_REGIONS_MAX 64
#define SHM_LOCKS 8

struct write_record {
    sqlite3_int64 offset;
    size_t n;
    bool truncate;
    unsigned char *bytes;
    struct write_record *next;
};

struct content {
    unsigned char *bytes;
    size_t n;
};

struct disk_file {
    char *name;
    bool exists, synced_exists;
    struct content now, synced;
    struct write_record *writes, **last;
    /* of this generation */
    int shared, reserved, pending, exclusive;
    void *shm[SHM_REGIONS_MAX];
    int shm_shared[SHM_LOCKS], shm_exclusive[SHM_LOCKS];
};

struct disk {
    sqlite3_vfs vfs;
    struct sim *sim;
    struct disk_file files[FILES_MAX];
    size_t count;
};

struct handle {
    sqlite3_file base;
    struct disk *disk;
    struct disk_file *file;
    int lock;
    unsigned shm_shared, shm_exclusive; /* bits */
    bool delete_on_close;
};

static const sqlite3_io_methods io_methods;

/* --- content --- */

static void content_write(struct content *c, size_t offset, const void *bytes, size_t n)
{
    if (offset + n > c->n) {
        c->bytes = xrealloc(c->bytes, offset + n);
        memset(c->bytes + c->n, 0, offset + n - c->n);
        c->n = offset + n;
    }
    memcpy(c->bytes + offset, bytes, n);
}

static void content_truncate(struct content *c, size_t n)
{
    if (n < c->n)
        c->n = n;
}

static void content_copy(struct content *to, const struct content *from)
{
    free(to->bytes);
    to->bytes = xmalloc(from->n + 1);
    to->n = from->n;
    if (from->n)
        memcpy(to->bytes, from->bytes, from->n);
}

static void record(struct disk_file *f, size_t offset, const void *bytes, size_t n, bool truncate)
{
    struct write_record *r = xcalloc(1, sizeof(*r));
    r->offset = (sqlite3_int64)offset;
    r->n = n;
    r->truncate = truncate;
    if (!truncate) {
        r->bytes = xmalloc(n + 1);
        memcpy(r->bytes, bytes, n);
    }
    *f->last = r;
    f->last = &r->next;
}

static void forget_writes(struct disk_file *f)
{
    struct write_record *r = f->writes;
    while (r) {
        struct write_record *next = r->next;
        free(r->bytes);
        free(r);
        r = next;
    }
    f->writes = NULL;
    f->last = &f->writes;
}

static void crash_file(struct disk *d, struct disk_file *f)
{
    struct content after = {0};
    content_copy(&after, &f->synced);
    bool named = f->synced_exists;
    for (const struct write_record *r = f->writes; r; r = r->next) {
        if (sim_below(d->sim, 2) == 0)
            continue;
        if (r->truncate)
            content_truncate(&after, (size_t)r->offset);
        else
            content_write(&after, (size_t)r->offset, r->bytes, r->n);
    }
    forget_writes(f);
    free(f->now.bytes);
    f->now = after;
    content_copy(&f->synced, &f->now);
    f->exists = named || (f->exists && sim_below(d->sim, 2));
    f->synced_exists = f->exists;
    if (!f->exists)
        content_truncate(&f->now, 0);
    f->shared = f->reserved = f->pending = f->exclusive = 0;
    memset(f->shm, 0,
        sizeof(f->shm)); /* not freed: a task of the dead process may still point there */
    memset(f->shm_shared, 0, sizeof(f->shm_shared));
    memset(f->shm_exclusive, 0, sizeof(f->shm_exclusive));
}

void disk_crash(struct disk *disk)
{
    for (size_t i = 0; i < disk->count; i++)
        crash_file(disk, &disk->files[i]);
}

/* --- files --- */

static struct disk_file *find(struct disk *d, const char *name, bool make)
{
    for (size_t i = 0; i < d->count; i++)
        if (c_eq(d->files[i].name, name))
            return &d->files[i];
    if (!make || d->count == FILES_MAX)
        return NULL;
    struct disk_file *f = &d->files[d->count++];
    f->name = xstrdup(name);
    f->last = &f->writes;
    return f;
}

static int vfs_open(
    sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
    struct disk *d = (struct disk *)vfs;
    struct handle *h = (struct handle *)file;
    struct disk_file *f = find(d, name ? name : "temporary", flags & SQLITE_OPEN_CREATE);
    h->base.pMethods = NULL;
    if (!f || (!f->exists && !(flags & SQLITE_OPEN_CREATE)))
        return SQLITE_CANTOPEN;
    f->exists = true;
    *h = (struct handle){.base.pMethods = &io_methods,
        .disk = d,
        .file = f,
        .delete_on_close = flags & SQLITE_OPEN_DELETEONCLOSE};
    if (out_flags)
        *out_flags = flags;
    return SQLITE_OK;
}

static void remove_file(struct disk_file *f)
{
    f->exists = f->synced_exists =
        false; /* a removal that a crash undoes would only bring old bytes back */
    content_truncate(&f->now, 0);
    content_truncate(&f->synced, 0);
    forget_writes(f);
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
    struct disk_file *f = find((struct disk *)vfs, name, false);
    (void)sync_dir;
    if (!f || !f->exists)
        return SQLITE_IOERR_DELETE_NOENT;
    remove_file(f);
    return SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
    struct disk_file *f = find((struct disk *)vfs, name, false);
    (void)flags;
    *out = f && f->exists;
    return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *name, int n, char *out)
{
    (void)vfs;
    snprintf(out, (size_t)n, "%s", name);
    return SQLITE_OK;
}

static int vfs_randomness(sqlite3_vfs *vfs, int n, char *out)
{
    struct disk *d = (struct disk *)vfs;
    for (int i = 0; i < n; i++)
        out[i] = (char)sim_random(d->sim);
    return n;
}

static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
    struct disk *d = (struct disk *)vfs;
    sim_wait(d->sim, NULL, NULL, sim_now_ns(d->sim) + (int64_t)us * NS_PER_US);
    return us;
}

static int vfs_time(sqlite3_vfs *vfs, sqlite3_int64 *out)
{
    struct disk *d = (struct disk *)vfs;
    *out = 210866760000000ll + 1767225600000ll + sim_now_ns(d->sim) / NS_PER_MS;
    return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int n, char *out)
{
    (void)vfs;
    if (n > 0)
        *out = '\0';
    return 0;
}

/* --- reading and writing --- */

static int file_close(sqlite3_file *file)
{
    struct handle *h = (struct handle *)file;
    if (h->delete_on_close)
        remove_file(h->file);
    return SQLITE_OK;
}

static int file_read_at(sqlite3_file *file, void *out, int n, sqlite3_int64 offset)
{
    const struct content *c = &((struct handle *)file)->file->now;
    size_t have = (size_t)offset < c->n ? c->n - (size_t)offset : 0;
    size_t take = have < (size_t)n ? have : (size_t)n;
    if (take)
        memcpy(out, c->bytes + offset, take);
    if (take == (size_t)n)
        return SQLITE_OK;
    memset((char *)out + take, 0, (size_t)n - take);
    return SQLITE_IOERR_SHORT_READ;
}

static int file_write_at(sqlite3_file *file, const void *bytes, int n, sqlite3_int64 offset)
{
    struct disk_file *f = ((struct handle *)file)->file;
    content_write(&f->now, (size_t)offset, bytes, (size_t)n);
    record(f, (size_t)offset, bytes, (size_t)n, false);
    return SQLITE_OK;
}

static int file_truncate_to(sqlite3_file *file, sqlite3_int64 n)
{
    struct disk_file *f = ((struct handle *)file)->file;
    content_truncate(&f->now, (size_t)n);
    record(f, (size_t)n, NULL, 0, true);
    return SQLITE_OK;
}

static int file_sync_now(sqlite3_file *file, int flags)
{
    struct handle *h = (struct handle *)file;
    struct sim *sim = h->disk->sim;
    (void)flags;
    sim_wait(sim, NULL, NULL, sim_now_ns(sim) + (int64_t)(50 + sim_below(sim, 400)) * NS_PER_US);
    content_copy(&h->file->synced, &h->file->now);
    h->file->synced_exists = h->file->exists;
    forget_writes(h->file);
    return SQLITE_OK;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *out)
{
    *out = (sqlite3_int64)((struct handle *)file)->file->now.n;
    return SQLITE_OK;
}

/* --- locks --- */

static int file_lock(sqlite3_file *file, int level)
{
    struct handle *h = (struct handle *)file;
    struct disk_file *f = h->file;
    int others = f->shared - (h->lock >= SQLITE_LOCK_SHARED);
    if (h->lock >= level)
        return SQLITE_OK;
    if (level == SQLITE_LOCK_SHARED) {
        if (f->pending || f->exclusive)
            return SQLITE_BUSY;
        f->shared++;
    }
    if (level == SQLITE_LOCK_RESERVED) {
        if (f->reserved)
            return SQLITE_BUSY;
        f->reserved = 1;
    }
    if (level == SQLITE_LOCK_EXCLUSIVE) {
        if (others > 0 || (f->reserved && h->lock < SQLITE_LOCK_RESERVED))
            return SQLITE_BUSY;
        f->exclusive = 1;
        f->reserved = 1;
    }
    h->lock = level;
    return SQLITE_OK;
}

static int file_unlock(sqlite3_file *file, int level)
{
    struct handle *h = (struct handle *)file;
    struct disk_file *f = h->file;
    if (h->lock <= level)
        return SQLITE_OK;
    if (h->lock == SQLITE_LOCK_EXCLUSIVE)
        f->exclusive = 0;
    if (h->lock >= SQLITE_LOCK_RESERVED)
        f->reserved = 0;
    if (level == SQLITE_LOCK_NONE)
        f->shared--;
    h->lock = level;
    return SQLITE_OK;
}

static int file_check_reserved(sqlite3_file *file, int *out)
{
    *out = ((struct handle *)file)->file->reserved;
    return SQLITE_OK;
}

static int file_control(sqlite3_file *file, int op, void *arg)
{
    (void)file;
    (void)op;
    (void)arg;
    return SQLITE_NOTFOUND;
}

static int file_sector_size(sqlite3_file *file)
{
    (void)file;
    return 4096;
}

static int file_device(sqlite3_file *file)
{
    (void)file;
    return 0;
}

/* --- shared memory of WAL --- */

static int shm_map(sqlite3_file *file, int region, int bytes, int extend, void volatile **out)
{
    struct disk_file *f = ((struct handle *)file)->file;
    if (region >= SHM_REGIONS_MAX)
        return SQLITE_IOERR_SHMMAP;
    if (!f->shm[region] && extend)
        f->shm[region] = xcalloc(1, (size_t)bytes);
    *out = f->shm[region];
    return SQLITE_OK;
}

static int shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    struct handle *h = (struct handle *)file;
    struct disk_file *f = h->file;
    bool exclusive = flags & SQLITE_SHM_EXCLUSIVE;
    for (int i = offset; i < offset + n && (flags & SQLITE_SHM_LOCK); i++) {
        int others = f->shm_shared[i] - !!(h->shm_shared & (1u << i));
        if (exclusive ? others > 0 || f->shm_exclusive[i] : f->shm_exclusive[i])
            return SQLITE_BUSY;
    }
    for (int i = offset; i < offset + n; i++) {
        unsigned bit = 1u << i;
        unsigned *mine = exclusive ? &h->shm_exclusive : &h->shm_shared;
        int *all = exclusive ? &f->shm_exclusive[i] : &f->shm_shared[i];
        bool has = *mine & bit;
        if ((flags & SQLITE_SHM_LOCK) && !has) {
            *mine |= bit;
            ++*all;
        } else if ((flags & SQLITE_SHM_UNLOCK) && has) {
            *mine &= ~bit;
            --*all;
        }
    }
    return SQLITE_OK;
}

static void shm_barrier(sqlite3_file *file)
{
    (void)file; /* one task runs at a time */
}

static int shm_unmap(sqlite3_file *file, int delete_it)
{
    struct disk_file *f = ((struct handle *)file)->file;
    if (delete_it)
        memset(f->shm, 0, sizeof(f->shm));
    return SQLITE_OK;
}

static const sqlite3_io_methods io_methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read_at,
    .xWrite = file_write_at,
    .xTruncate = file_truncate_to,
    .xSync = file_sync_now,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_device,
    .xShmMap = shm_map,
    .xShmLock = shm_lock,
    .xShmBarrier = shm_barrier,
    .xShmUnmap = shm_unmap,
};

struct disk *disk_new(struct sim *sim)
{
    struct disk *d = xcalloc(1, sizeof(*d));
    d->sim = sim;
    d->vfs = (sqlite3_vfs){
        .iVersion = 2,
        .szOsFile = sizeof(struct handle),
        .mxPathname = 512,
        .zName = "sim",
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_path,
        .xRandomness = vfs_randomness,
        .xSleep = vfs_sleep,
        .xCurrentTimeInt64 = vfs_time,
        .xGetLastError = vfs_last_error,
    };
    sqlite3_vfs_register(&d->vfs, 0);
    return d;
}
