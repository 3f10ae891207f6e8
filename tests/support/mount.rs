//! File systems of a test's own, which only root can make; small enough to be full, or to be shut down as by a loss of power.
#![allow(unsafe_code)] // EXT4_IOC_SHUTDOWN has no wrapper.
#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::tools::must_be_on_demand;

/// A mounted file system, which goes when this does.
pub struct Mount {
    /// Where it is.
    pub path: PathBuf,
    home: TempDir,
}

impl Mount {
    /// A file system in memory of so many mebibytes.
    ///
    /// # Errors
    /// In words: why this test cannot have one.
    pub fn tmpfs(mebibytes: u32) -> Result<Mount, String> {
        let mount = Mount::unmounted();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "none", text(&mount.path)])?;
        Ok(mount)
    }

    /// An ext4 of so many mebibytes in a file, which forgets what was not synced when it is [shut down](Mount::lose_power).
    ///
    /// # Errors
    /// In words: why this test cannot have one.
    pub fn ext4(mebibytes: u64) -> Result<Mount, String> {
        let mount = Mount::unmounted();
        let image = mount.image();
        File::create(&image).and_then(|file| file.set_len(mebibytes << 20)).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-F", text(&image)])?;
        mount.mount_image()?;
        Ok(mount)
    }

    /// Leaves no room in one in memory: gives it the size of what is in it.
    ///
    /// # Panics
    /// It cannot be.
    pub fn fill(&self) {
        let resized = (0..100).any(|_| {
            let now = nix::sys::statvfs::statvfs(&self.path).unwrap();
            let used = (now.blocks() - now.blocks_free()) * now.fragment_size();
            // It may have grown meanwhile.
            run("mount", &["-o", &format!("remount,size={used}"), text(&self.path)]).is_ok()
        });
        assert!(resized, "{} cannot be filled", self.path.display());
    }

    /// Gives it room again, for so many mebibytes in all.
    ///
    /// # Panics
    /// It cannot be.
    pub fn give_room(&self, mebibytes: u32) {
        run("mount", &["-o", &format!("remount,size={mebibytes}m"), text(&self.path)]).unwrap();
    }

    fn unmounted() -> Mount {
        must_be_on_demand();
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("mounted");
        fs::create_dir(&path).unwrap();
        Mount { path, home }
    }

    fn image(&self) -> PathBuf {
        self.home.path().join("image")
    }

    fn mount_image(&self) -> Result<(), String> {
        run("mount", &["-o", "loop", text(&self.image()), text(&self.path)])
    }

    /// What a loss of power does: from now on nothing is written any more, not even what the file system has begun with.
    pub fn lose_power(&self) {
        const EXT4_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;
        let no_flush: u32 = 2;
        let root = File::open(&self.path).unwrap();
        // SAFETY: reads one u32 through the pointer, which outlives the call.
        let result = unsafe { libc::ioctl(root.as_raw_fd(), EXT4_IOC_SHUTDOWN, &raw const no_flush) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    }

    /// And what the next start of the machine finds. Nobody may have a file open.
    pub fn come_back(&self) {
        run("umount", &[text(&self.path)]).unwrap();
        self.mount_image().unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = run("umount", &["--quiet", text(&self.path)]);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program} is needed (Debian: mount, e2fsprogs): {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program} {args:?}, which wants root: {}", said.trim())) }
}
