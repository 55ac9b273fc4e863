//! Which fault happens where.

use serde::{Deserialize, Serialize};

/// Keys of a `stress` stack entry.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) fault: Fault,
    pub(crate) hook: Hook,
    /// Calls of the hook that go well before.
    pub(crate) after: u64,
    /// Has no default.
    pub(crate) divisor: Option<u64>,
    /// Refused as an unknown key unless the fault is to take such.
    #[serde(rename = "no-such-key", skip_serializing)]
    pub(crate) unknown: Option<i64>,
}

/// What goes wrong. Where a hook has no value to spoil, `nan` and `wrong-shape` are errors of the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    #[default]
    None,
    Panic,
    Error,
    /// An operation on shapes that do not fit.
    Operation,
    Nan,
    /// A finite value that is wrong.
    Wrong,
    WrongShape,
    /// A sample that is not of the stage.
    Hidden,
    /// No error: what training shows of earlier tasks is kept in memory, and changes how later ones are trained.
    Hoard,
    /// A tensor handle that is never given back.
    Leak,
    /// Gradients stay switched off.
    Gradients,
    /// A service that this hook does not have.
    Service,
    /// A line on stdout that looks like a worker's reply, and a look at its requests.
    Forge,
    Segfault,
    Hang,
    /// An allocation that no machine can serve, which ends the process.
    Exhaust,
    /// Every call that could show a record of an earlier task, or the task that is answered; the hook gives the host old samples.
    Reach,
    /// Takes memory without end.
    Gorge,
    /// Keeps a megabyte of each call.
    Swell,
    /// What it does depends on how often any cell of the process did it.
    Unsteady,
    /// What it does depends on how often this cell did it, and `save` does not say.
    Forgetful,
    /// The update takes no part in the graph.
    Detached,
    /// Asks for what it does not declare, and goes on without.
    Undeclared,
    /// Takes for granted that a service answers.
    Unwrap,
    /// Computes in float32 whatever the backbone has.
    Float32,
    /// A row sees the others of its batch.
    Neighbour,
    /// A token sees the others of its row.
    Tokens,
    /// Another output while answers are decoded.
    Decoding,
    /// Wants no other plugin beside it.
    Alone,
    /// Takes keys that it does not know.
    Lax,
    /// Panics where `after` is 0, when the hook is called.
    Brittle,
    /// A part of the border that only later versions have.
    Later,
    /// No fault: the stage in two phases, checked from inside.
    Phases,
    /// No fault: all that a pass offers is asked for.
    Services,
    /// Its output depends on how often it was called.
    Memory,
    /// What it computes from a stage is kept in a static, and nowhere else; each run finds there what it would write itself.
    Static,
    /// A line on stdout, and nothing else.
    Print,
    /// `load` takes any bytes.
    Gullible,
    /// Of the update, one of its two tensors takes no part in the graph.
    Half,
    /// From the second stage on, the update takes no part in the graph.
    Tired,
    /// From the second stage on, of the update one of its two tensors takes no part in the graph.
    HalfTired,
    /// A panic in its `Drop` where it was trained for long.
    Weary,
    /// Panics where `divisor` is 0.
    Option,
    /// No fault: hands an error on in words that others have for panics, or tells of one in its `Drop`.
    Alarm,
}

/// Where it goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Hook {
    Build,
    #[default]
    Adapt,
    Prefix,
    MergedDelta,
    BeforeStage,
    AfterStage,
    ComposeBatch,
    Loss,
    AfterBackward,
    AfterUpdate,
    BeforeEval,
    AfterEval,
    Save,
    Load,
    Drop,
}
