//! The faults. What spoils a value (`nan`, `wrong-shape`) is left to the hook that has one.

use std::hint::black_box;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use coin_plugin_api::{Error, NoGrad, Result, Tensor, bail, ensure};

use crate::config::{Config, Fault, Hook};

/// Counts the calls of the hook and strikes when it is time.
#[derive(Debug)]
pub(crate) struct Trouble {
    config: Config,
    calls: AtomicU64,
}

/// Calls of hooks that count, in all cells of the process.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// What a hook must do to its own result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Spoil {
    Nothing,
    Nan,
    Wrong,
    WrongShape,
    Hidden,
    /// Times this.
    Scaled(f64),
}

impl Trouble {
    pub(crate) fn new(config: Config) -> Trouble {
        Trouble { config, calls: AtomicU64::new(0) }
    }

    /// Called at the start of each hook.
    pub(crate) fn strike(&self, hook: Hook) -> Result<Spoil> {
        // There is no later call where a value of the configuration is the fault.
        let waits = !matches!(self.config.fault, Fault::Brittle | Fault::Option);
        if hook != self.config.hook || waits && self.calls.fetch_add(1, Ordering::Relaxed) < self.config.after
        {
            return Ok(Spoil::Nothing);
        }
        match self.config.fault {
            Fault::None => {}
            Fault::Nan => return Ok(Spoil::Nan),
            Fault::Wrong => return Ok(Spoil::Wrong),
            Fault::WrongShape => return Ok(Spoil::WrongShape),
            Fault::Hidden => return Ok(Spoil::Hidden),
            Fault::Panic => panic!("stress was told to panic"),
            Fault::Error => bail!("stress was told to fail\nhint: it is a test"),
            Fault::Operation => {
                let (a, b) =
                    (Tensor::from_floats(&[0.0; 6], &[2, 3])?, Tensor::from_floats(&[0.0; 8], &[2, 4])?);
                a.matmul(&b)?;
            }
            Fault::Leak => std::mem::forget(Tensor::from_floats(&[0.0], &[1])?),
            Fault::Gradients => std::mem::forget(NoGrad::new()),
            Fault::Forge => forge()?,
            Fault::Segfault => segfault(),
            Fault::Hang => loop {
                std::thread::sleep(std::time::Duration::from_secs(1));
            },
            Fault::Exhaust => drop(black_box(Vec::<u8>::with_capacity(isize::MAX as usize))),
            Fault::Gorge => loop {
                std::mem::forget(black_box(vec![1u8; 64 << 20]));
            },
            Fault::Swell => std::mem::forget(black_box(vec![1u8; 1 << 20])),
            Fault::Unsteady => {
                return Ok(Spoil::Scaled(1.0 + CALLS.fetch_add(1, Ordering::Relaxed) as f64));
            }
            Fault::Forgetful => {
                return Ok(Spoil::Scaled(self.calls.load(Ordering::Relaxed) as f64));
            }
            Fault::Hoard
            | Fault::Reach
            | Fault::Service
            | Fault::Services
            | Fault::Memory
            | Fault::Later
            | Fault::Phases
            | Fault::Detached
            | Fault::Undeclared
            | Fault::Unwrap
            | Fault::Float32
            | Fault::Neighbour
            | Fault::Tokens
            | Fault::Decoding
            | Fault::Alone
            | Fault::Lax
            | Fault::Static
            | Fault::Gullible
            | Fault::Half
            | Fault::Tired
            | Fault::HalfTired
            | Fault::Weary
            | Fault::Alarm => {}
            Fault::Brittle => drop(black_box(10 / self.config.after)),
            Fault::Option => drop(black_box(self.config.divisor.map(|divisor| 10 / divisor))),
            #[expect(clippy::print_stdout, reason = "what the host is tested against")]
            Fault::Print => println!("stress was here"),
        }
        Ok(Spoil::Nothing)
    }

    /// Calls of the hook so far.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Whether this call is to do one of the faults that need what only the hook has.
    pub(crate) fn is(&self, fault: Fault, hook: Hook) -> bool {
        self.config.fault == fault && self.config.hook == hook
    }
}

/// Refuses faults in hooks that cannot have them.
pub(crate) fn check(config: &Config) -> Result<()> {
    if config.unknown.is_some() && config.fault != Fault::Lax {
        return Err(Error::config(
            "unknown field `no-such-key`, expected one of `fault`, `hook`, `after`, `divisor`",
        ));
    }
    let spoils = matches!(config.hook, Hook::Adapt | Hook::Prefix | Hook::Loss | Hook::MergedDelta);
    let possible = match config.fault {
        Fault::Nan => spoils || config.hook == Hook::AfterBackward,
        Fault::Wrong => config.hook == Hook::MergedDelta,
        Fault::WrongShape => spoils || config.hook == Hook::ComposeBatch,
        Fault::Hidden => matches!(config.hook, Hook::BeforeStage | Hook::ComposeBatch),
        Fault::Reach => matches!(config.hook, Hook::Adapt | Hook::BeforeStage | Hook::ComposeBatch),
        Fault::Hoard => matches!(config.hook, Hook::Adapt | Hook::Loss),
        Fault::Service
        | Fault::Services
        | Fault::Memory
        | Fault::Detached
        | Fault::Half
        | Fault::Tired
        | Fault::HalfTired
        | Fault::Float32
        | Fault::Neighbour
        | Fault::Tokens
        | Fault::Decoding => config.hook == Hook::Adapt,
        Fault::Undeclared | Fault::Unwrap | Fault::Weary => config.hook == Hook::Loss,
        Fault::Alarm => matches!(config.hook, Hook::Loss | Hook::Drop),
        Fault::Unsteady | Fault::Forgetful => config.hook == Hook::AfterBackward,
        Fault::Alone => config.hook == Hook::BeforeStage,
        Fault::Lax => config.hook == Hook::Build,
        Fault::Static => config.hook == Hook::AfterStage,
        Fault::Gullible => config.hook == Hook::Save,
        Fault::Phases => config.hook == Hook::BeforeStage,
        Fault::Later => matches!(config.hook, Hook::Adapt | Hook::BeforeStage),
        _ => true,
    };
    if !possible {
        return Err(Error::config(format!(
            "the fault {:?} cannot happen in {:?}",
            config.fault, config.hook
        )));
    }
    if config.fault == Fault::Later && !cfg!(feature = "growth") {
        return Err(Error::config("this build of stress knows no later part of the border"));
    }
    Ok(())
}

fn forge() -> Result<()> {
    let failed = |error: std::io::Error| Error::new(error.to_string());
    let mut requests = String::new();
    std::io::stdin().read_to_string(&mut requests).map_err(failed)?;
    let reply = "\n{\"reply\":\"failed\",\"message\":\"forged\"}\n";
    std::io::stdout().write_all(reply.as_bytes()).map_err(failed)?;
    ensure!(requests.is_empty(), "stress read requests: {requests}");
    Ok(())
}

pub(crate) fn segfault() {
    let nowhere = black_box(std::ptr::without_provenance_mut::<u8>(8));
    // SAFETY: none, on purpose: nothing is mapped there, so the process ends with a segmentation fault. This is what the host is
    // tested against.
    unsafe { nowhere.write_volatile(1) }
}

/// Room for the path of a file, behind the text that a test finds it by: one that has a path written here makes that file as soon as
/// the dynamic linker runs its constructors, so it shows whether the host ever let any code of it run.
#[cfg(target_os = "linux")]
static MARK: [u8; 256] = {
    let (tag, mut mark) = (b"COIN-STRESS-CONSTRUCTOR:", [0; 256]);
    let mut at = 0;
    while at < tag.len() {
        mark[at] = tag[at];
        at += 1;
    }
    mark
};

#[cfg(target_os = "linux")]
extern "C" fn constructed() {
    let mark = black_box(&MARK);
    let path = mark.iter().skip_while(|byte| **byte != b':').skip(1).take_while(|byte| **byte != 0);
    let path: Vec<u8> = path.copied().collect();
    if let Ok(path) = String::from_utf8(path)
        && !path.is_empty()
    {
        let _told = std::fs::write(path, "constructed");
    }
}

#[cfg(target_os = "linux")]
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructed;
