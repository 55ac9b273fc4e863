//! Whole configurations: what is refused, and how the message reads; what a resolved one keeps.

use proptest::prelude::*;

use crate::config::*;

const RUN: &str = "\
orders = [\"written\"]

[backbone]
path = \"builtin:tiny\"

[tasks.gqa]
dataset = \"coin-datasets/gqa\"
root = \"data/gqa\"

[tasks.vizwiz]
dataset = \"coin-datasets/vizwiz\"
root = \"builtin:quickstart\"

[methods.lora]
stack = [{ plugin = \"lora\", r = 16 }]

[methods.lora-ewc]
stack = [{ plugin = \"lora\", r = 16 }, { plugin = \"ewc\", lambda = 0.5 }]
";

/// Loads the text as the file `run.toml`, the only name that messages then give it.
fn load_text(text: &str, request: Request<'_>) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    std::fs::write(&path, text).unwrap();
    load(&Request { path: Some(&path), ..request })
        .map_err(|fault| fault.to_string().replace(&format!("{}/", folder.path().display()), ""))
}

fn fault(text: &str) -> String {
    load_text(text, Request::default()).unwrap_err()
}

fn fault_of_set(set: &str) -> String {
    load_text(RUN, Request { set: &[set.to_string()], ..Request::default() }).unwrap_err()
}

#[test]
fn nothing_is_trained_in_float16() {
    let found = fault_of_set("backbone.dtype=float16");
    assert!(found.contains("`backbone.dtype`: nothing is trained in float16"), "{found}");
    assert!(found.contains("\nhint: bfloat16"), "{found}");
}

#[test]
fn faults_name_line_key_and_reason_and_say_what_to_do() {
    for (text, expected) in [
        (
            "[training]\nbatchsize = 8\n",
            "run.toml:2: `training.batchsize`: unknown key\nhint: did you mean `training.batch_size`?",
        ),
        (
            "\nlearning_rate = 0.1\n",
            "run.toml:2: `learning_rate`: unknown key\nhint: did you mean `training.learning_rate`?",
        ),
        (
            "[optimizer]\n",
            "run.toml:1: `optimizer`: unknown key\nhint: known at the top: name, seeds, orders, references, backbone, training, evaluation, protocol, tasks, methods, plugins, judge",
        ),
        (
            "[training]\nsteps = \"many\"\n",
            "run.toml:2: `training.steps`: expected a whole number of at least 1, found the text \"many\"",
        ),
        (
            "[training]\nsteps = 0\n",
            "run.toml:2: `training.steps`: expected a whole number of at least 1, found 0",
        ),
        (
            "[training]\nsteps = 1.5\n",
            "run.toml:2: `training.steps`: expected a whole number of at least 1, found 1.5",
        ),
        (
            "[training]\nlearning_rate = nan\n",
            "run.toml:2: `training.learning_rate`: expected a number above 0, found nan",
        ),
        (
            "[training]\nclip_norm = inf\n",
            "run.toml:2: `training.clip_norm`: expected a number of at least 0, found inf",
        ),
        (
            "[training]\nwarmup_ratio = 1.0\n",
            "run.toml:2: `training.warmup_ratio`: expected a number of at least 0 and below 1, found 1.0",
        ),
        (
            "[training]\nbetas = [0.9]\n",
            "run.toml:2: `training.betas`: expected two numbers, each of at least 0 and below 1, found the list [0.9]",
        ),
        (
            "[training]\nscheduler = \"cosin\"\n",
            "run.toml:2: `training.scheduler`: expected `cosine`, `linear`, `constant`, found the text \"cosin\"\nhint: did you mean `cosine`?",
        ),
        ("training = 3\n", "run.toml:1: `training`: expected a table, found 3"),
        ("seeds = []\n", "run.toml:1: `seeds`: the list is empty"),
        (
            "seeds = 4\n",
            "run.toml:1: `seeds`: expected a list that is not empty: a whole number, found 4\nhint: write `[4]`",
        ),
        ("seeds = [\n  1,\n  -2,\n]\n", "run.toml:3: `seeds.1`: expected a whole number, found -2"),
        ("seeds = [1, 2, 1]\n", "run.toml:1: `seeds`: 1 stands there twice"),
        (
            "orders = [3]\n",
            "run.toml:1: `orders.0`: expected an order, found 3\nhint: an order is a name, `random:N`, a list of task names, or `{ name = \"..\", tasks = [..] }`",
        ),
        ("[evaluation]\nscorers = []\n", "run.toml:2: `evaluation.scorers`: the list is empty"),
        (
            "[tasks.\"a/b\"]\n",
            "run.toml:1: `tasks.a/b`: `a/b` is no usable name\nhint: names are made of letters, digits, `-` and `_`",
        ),
        (
            "[tasks.a]\nmetric = \"accuracy\"\n",
            "run.toml:2: `tasks.a.metric`: expected `multiple-choice`, `vqa-soft`, `textvqa`, `vizwiz`, `exact-match`, `classification`, `grounding`, `gqa`, `ocr-vqa`, found the text \"accuracy\"",
        ),
        (
            "[tasks.a.config]\nlimit = nan\n",
            "run.toml:2: `tasks.a.config.limit`: expected a finite number, text, flag, list or table, found nan",
        ),
        (
            "[methods.m]\nstack = []\n",
            "run.toml:2: `methods.m.stack`: the stack is empty\nhint: for example `stack = [{ plugin = \"lora\" }]`",
        ),
        (
            "[methods.m]\nstack = [\"lora\"]\n",
            "run.toml:2: `methods.m.stack.0`: expected a table with a `plugin`, found the text \"lora\"\nhint: write `{ plugin = \"lora\" }`",
        ),
        (
            "[methods.m]\nstack = [{ plugins = \"lora\" }]\n",
            "run.toml:2: `methods.m.stack.0`: the entry names no plugin\nhint: did you mean `plugin` where `plugins` stands?",
        ),
        (
            "[methods.m]\nstack = [{ plugin = \"lora\", r = 0 }]\n",
            "run.toml:2: `methods.m.stack.0.r`: expected a whole number of at least 1, found 0",
        ),
        (
            "[methods.m]\nstack = [\n  { plugin = \"lora\",\n    lora_dropout = 1.0 },\n]\n",
            "run.toml:4: `methods.m.stack.0.lora_dropout`: expected a number of at least 0 and below 1, found 1.0",
        ),
        (
            "[methods.m]\nstack = [{ plugin = \"ewc\", lambda = nan }]\n",
            "run.toml:2: `methods.m.stack.0.lambda`: expected a finite number, text, flag, list or table, found nan",
        ),
        ("name = \"a\"\nname = \"b\"\n", "run.toml:2: not valid TOML: duplicate key"),
    ] {
        // Where the table has no hint, it is what the key is for.
        let found = fault(text);
        let (reason, hint) = found.split_once("\nhint: ").expect("every fault has a hint");
        assert_eq!(if expected.contains("\nhint: ") { &found } else { reason }, expected, "{text}");
        assert!(!hint.is_empty(), "{text}");
    }
}

#[test]
fn a_fault_without_a_better_hint_tells_what_the_key_is_for() {
    assert!(
        fault("[training]\nsteps = 0\n")
            .ends_with("\nhint: Optimizer steps a stage. Either this or `epochs`. Default: as `epochs`")
    );
    assert!(fault("plugins = 1\n").ends_with("\nhint: keys of `plugins`: dirs, dev, trust"));
}

#[test]
fn faults_between_keys_are_found_too() {
    let with = |part: &str, replacement: &str| fault(&RUN.replace(part, replacement));
    assert_eq!(
        with("path = \"builtin:tiny\"", ""),
        "run.toml:3: `backbone.path`: the key is missing\nhint: for example `path = \"builtin:tiny\"`"
    );
    assert_eq!(
        with("dataset = \"coin-datasets/gqa\"\n", ""),
        "run.toml:6: `tasks.gqa.dataset`: the key is missing\nhint: for example `dataset = \"coin-datasets/gqa\"`"
    );
    assert!(
        with("coin-datasets/gqa", "gqa")
            .starts_with("run.toml:7: `tasks.gqa.dataset`: `gqa` does not name a plugin")
    );
    assert!(
        with("[\"written\"]", "[\"coins\"]")
            .starts_with("run.toml:1: `orders`: there is no order `coins`\nhint: did you mean `coin`?")
    );
    assert!(with("[\"written\"]", "[[\"gqa\", \"vizwz\"]]").starts_with(
        "run.toml:1: `orders`: the order names an unknown task `vizwz`\nhint: did you mean `vizwiz`?"
    ));
    assert!(with("[\"written\"]", "[\"coin\", \"coin\"]").contains("the order `coin` stands there twice"));
    assert!(
        with("[\"written\"]", "[\"written\"]\nreferences = [\"joined\"]")
            .starts_with("run.toml:2: `references.0`: `joined` is no reference run")
    );
    assert!(
        with("[\"written\"]", "[\"written\"]\nreferences = [\"joint:lara\"]")
            .ends_with("hint: did you mean `lora`?")
    );
    // Two of a kind would share a folder.
    assert_eq!(
        with("[\"written\"]", "[\"written\"]\nreferences = [\"joint:lora\", \"single\", \"joint:lora-ewc\"]"),
        "run.toml:2: `references.2`: a second `joint` reference, of `lora-ewc` beside that of `lora`; a run has one, in `references/joint`\n\
         hint: leave one of them out; a run in another folder (`--out`) can have it"
    );
    assert!(
        with("[backbone]", "[backbone]\ndevice = \"gpu\"")
            .starts_with("run.toml:4: `backbone.device`: `gpu` is no device")
    );
    assert_eq!(
        with("[backbone]", "[training]\nsteps = 3\nepochs = 1\n[backbone]"),
        "run.toml:5: `training.epochs`: excludes `training.steps` (run.toml:4)\nhint: keep one of the two"
    );
    assert!(fault("[backbone]\npath = \"builtin:tiny\"\n").contains("the run has no task"));
    assert!(fault(&RUN[..RUN.find("[methods").unwrap()]).contains("the run has no method"));
}

#[test]
fn options_of_the_command_line_go_over_the_file_and_are_named_in_faults() {
    assert_eq!(
        fault_of_set("training.batchsize=8"),
        "--set training.batchsize=8: `training.batchsize`: unknown key\nhint: did you mean `training.batch_size`?"
    );
    assert!(fault_of_set("training.steps=1e3").contains("expected a whole number of at least 1, found 1e3"));
    assert!(
        fault_of_set("methods.lora.stack.lora.r=-1")
            .starts_with("--set methods.lora.stack.lora.r=-1: `methods.lora.stack.0.r`")
    );
    let set = ["training.epochs=2".to_string(), "methods.lora-ewc.stack.ewc.lambda=3".to_string()];
    let text = RUN.replace("[backbone]", "[training]\nsteps = 3\n[backbone]");
    let config =
        load_text(&text, Request { set: &set, seeds: &[4, 5], ..Request::default() }).unwrap().config;
    assert_eq!((config.training.steps, config.training.epochs), (None, Some(2.0)));
    assert_eq!(config.method("lora-ewc").unwrap().stack[1].config["lambda"], toml::Value::Integer(3));
    assert_eq!(config.seeds, [4, 5]);
}

#[test]
fn methods_and_tasks_can_be_picked_and_unknown_ones_are_named() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_string()).collect::<Vec<_>>();
    let (methods, tasks) = (names(&["lora-ewc"]), names(&["vizwiz"]));
    let config =
        load_text(RUN, Request { methods: &methods, tasks: &tasks, ..Request::default() }).unwrap().config;
    assert_eq!(config.methods.len(), 1);
    assert_eq!(config.orders[0].tasks, ["vizwiz"]);
    let methods = names(&["lora", "ewc"]);
    let fault = load_text(RUN, Request { methods: &methods, ..Request::default() }).unwrap_err();
    assert!(
        fault.starts_with("--methods: the run has no method `ewc`\nhint: known: lora, lora-ewc; "),
        "{fault}"
    );
    assert!(fault.contains("`stack = [{ plugin = \"ewc\" }]`"), "{fault}");
}

#[test]
fn a_joint_run_keeps_its_stack_when_its_method_is_not_picked() {
    let text = RUN.replace("[\"written\"]", "[\"written\"]\nreferences = [\"joint\"]");
    let methods = ["lora-ewc".to_string()];
    let config = load_text(&text, Request { methods: &methods, ..Request::default() }).unwrap().config;
    assert_eq!(config.references[0].method, "lora");
    assert_eq!(config.references[0].stack[0].plugin, "lora");
}

#[test]
fn a_method_may_have_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("methods")).unwrap();
    let file = folder.path().join("methods/mine.toml");
    std::fs::write(&file, "stack = [\n  { plugin = \"mine\", r = 4 },\n]\n").unwrap();
    let path = folder.path().join("run.toml");
    let run = |text: &str, request: Request<'_>| {
        std::fs::write(&path, text).unwrap();
        load(&Request { path: Some(&path), ..request })
    };
    let named = format!("{RUN}\n[methods.mine]\nfile = \"methods/mine.toml\"\n");
    let loaded = run(&named, Request::default()).unwrap();
    assert_eq!(loaded.config.method("mine").unwrap().stack[0].config["r"], toml::Value::Integer(4));
    assert!(loaded.origins.of("methods.mine.stack.0.r").to_string().ends_with("mine.toml:2"));
    let set = ["methods.mine.stack.mine.r=8".to_string()];
    let loaded = run(&named, Request { set: &set, ..Request::default() }).unwrap();
    assert_eq!(loaded.config.method("mine").unwrap().stack[0].config["r"], toml::Value::Integer(8));
    let methods = ["lora".to_string(), file.display().to_string()];
    let loaded = run(RUN, Request { methods: &methods, ..Request::default() }).unwrap();
    assert_eq!(
        loaded.config.methods.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["lora", "mine"]
    );
    let missing = run(&named.replace("mine.toml", "none.toml"), Request::default()).unwrap_err().to_string();
    assert!(missing.contains("`methods.mine.file`: there is no file"), "{missing}");
    let both = run(&format!("{named}stack = [{{ plugin = \"lora\" }}]\n"), Request::default())
        .unwrap_err()
        .to_string();
    assert!(both.contains("excludes `methods.mine.stack`"), "{both}");
}

#[test]
fn paths_of_a_file_are_relative_to_it_and_options_come_first() {
    let text = format!("{RUN}\n[plugins]\ndirs = [\"mine\"]\n");
    let dirs = ["first".to_string(), "second".to_string()];
    let loaded = load_text(&text, Request { plugin_dirs: &dirs, ..Request::default() }).unwrap();
    let here = std::env::current_dir().unwrap();
    let plugins = &loaded.config.plugins.dirs;
    assert_eq!(plugins[..2], [here.join("first"), here.join("second")]);
    let folder = plugins[2].parent().unwrap();
    assert_ne!(folder, here);
    assert_eq!(loaded.config.task("gqa").unwrap().root, Location::Folder(folder.join("data/gqa")));
    assert_eq!(loaded.config.task("vizwiz").unwrap().root, Location::Builtin("quickstart".into()));
}

#[test]
fn the_quickstart_runs_four_methods_on_eight_tasks() {
    let loaded = load(&Request::default()).unwrap();
    let config = &loaded.config;
    assert_eq!(config.tasks.len(), 8);
    assert_eq!(
        config.methods.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["lora", "moelora", "lora-replay", "lora-ewc"]
    );
    assert_eq!(config.orders[0].tasks[0], "scienceqa");
    assert_eq!(config.protocol.replay_samples_per_task, 64);
    assert_eq!(
        loaded.origins.of("training.steps"),
        &Origin::File { file: "embedded quickstart.toml".into(), line: 19 }
    );
}

#[test]
fn the_documented_defaults_are_the_ones_filled_in() {
    // Without its table, there is no judge at all.
    let bare = format!("{}\n[judge]\n", RUN.replace("orders = [\"written\"]\n", ""));
    let loaded = load_text(&bare, Request::default()).unwrap();
    let rows = explain::explain(&loaded);
    for key in schema::KEYS {
        let schema::Fallback::Value(text) = key.fallback else { continue };
        let path = key.path.replace("tasks.*", "tasks.gqa");
        let expected: toml::Table = toml::from_str(&format!("value = {text}")).unwrap();
        let expected = serde_json::to_value(&expected["value"]).unwrap();
        match rows.iter().find(|row| row.key == path) {
            Some(row) => assert_eq!((&row.value, &row.origin), (&expected, &Origin::Default), "{path}"),
            // Written with their tasks, and left out where they are 0 or false.
            None => {
                let left_out = [
                    "orders",
                    "evaluation.strict",
                    "evaluation.count_flips",
                    "protocol.strict",
                    "training.gradient_checkpointing",
                ];
                assert!(left_out.contains(&path.as_str()), "{path}");
            }
        }
    }
    assert_eq!(
        loaded.config.orders,
        [Order { name: "written".into(), tasks: vec!["gqa".into(), "vizwiz".into()] }]
    );
    assert!(loaded.config.references.is_empty());
    assert_eq!((loaded.config.training.steps, loaded.config.training.epochs), (None, Some(1.0)));
    assert_eq!(loaded.config.training.projector_learning_rate, loaded.config.training.learning_rate);
}

#[test]
fn a_run_that_goes_on_is_told_the_keys_that_differ() {
    let before = load(&Request::default()).unwrap().config;
    let with = |set: &str| load(&Request { set: &[set.to_string()], ..Request::default() }).unwrap().config;
    assert_eq!(before.differences(&before.clone()), []);
    let after = with("methods.lora.stack.lora.r=8");
    let keys: Vec<_> = before.differences(&after).into_iter().map(|row| row.key).collect();
    assert_eq!(keys, ["references.0.stack.0.r", "methods.lora.stack.0.r"]);
    assert_ne!(before.content_hash(), after.content_hash());
    let elsewhere = with("plugins.dirs=[\"elsewhere\"]");
    assert_eq!(before.differences(&elsewhere), []);
    assert_eq!(before.content_hash(), elsewhere.content_hash());
    let mut swapped = before.clone();
    swapped.tasks.swap(0, 1);
    assert_eq!(before.differences(&swapped).len(), 1);
    assert_ne!(before.content_hash(), swapped.content_hash());
}

fn with(request: Request<'_>) -> RunConfig {
    load(&request).unwrap().config
}

#[test]
fn a_run_grows_by_methods_seeds_and_orders() {
    let all = with(Request::default());
    let two = ["lora".to_string(), "lora-ewc".to_string()];
    let orders = ["coin".to_string(), "alphabetical".to_string()];
    let part = with(Request { methods: &two, seeds: &[3, 0], orders: &orders, ..Request::default() });
    let names = |config: &RunConfig| -> Vec<String> {
        let methods = config.methods.iter().map(|(name, _)| name.clone());
        methods.chain(config.orders.iter().map(|order| order.name.clone())).collect()
    };
    let grown = all.grown(&part).unwrap();
    let everything = ["lora", "moelora", "lora-replay", "lora-ewc", "coin", "alphabetical"];
    assert_eq!((names(&grown), &grown.seeds[..]), (everything.map(String::from).to_vec(), &[3, 0][..]));
    let grown = part.grown(&all).unwrap();
    assert_eq!((names(&grown), &grown.seeds[..]), (everything.map(String::from).to_vec(), &[3, 0][..]));
    assert_eq!(grown.grown(&all).unwrap(), grown);
    let alone = RunConfig { references: Vec::new(), ..part.clone() };
    assert_eq!(all.grown(&alone).unwrap().references, all.references);
    assert_eq!(alone.grown(&all).unwrap().references, all.references);
}

#[test]
fn another_run_is_told_apart_in_a_few_lines() {
    let all = with(Request::default());
    let told = |request: Request<'_>| all.grown(&with(request)).unwrap_err().join("\n");
    let tasks = ["gqa".to_string(), "vizwiz".to_string()];
    assert_eq!(
        told(Request { tasks: &tasks, ..Request::default() }),
        "tasks scienceqa, textvqa, imagenet, grounding, vqav2, ocrvqa: there, not now"
    );
    let set = ["training.steps=3".to_string(), "methods.lora.stack.lora.r=8".to_string()];
    let r = all.methods[0].1.stack[0].config["r"].clone();
    assert_eq!(
        told(Request { set: &set, methods: &["lora".to_string()], ..Request::default() }),
        format!("training.steps: 80 there, 3 now\nmethods.lora.stack.0.r: {r} there, 8 now")
    );
    // Drawn from another seed, under the same name.
    let orders = ["random:1".to_string()];
    let drawn = |seed: u64| with(Request { seeds: &[seed], orders: &orders, ..Request::default() });
    let order = drawn(0).grown(&drawn(1)).unwrap_err().join("\n");
    assert!(order.starts_with("order random-1: [\"") && order.lines().count() == 1, "{order}");
    let mut swapped = all.clone();
    swapped.tasks.swap(0, 1);
    assert_eq!(all.grown(&swapped).unwrap_err(), ["the order of tasks"]);
    let training =
        ["batch_size=1", "learning_rate=1", "weight_decay=1", "epsilon=1", "clip_norm=2", "accumulate=2"];
    let evaluation = ["batch_size=1", "limit=2", "scorers=[\"coin\"]"];
    let set: Vec<String> = training
        .iter()
        .map(|key| format!("training.{key}"))
        .chain(evaluation.iter().map(|key| format!("evaluation.{key}")))
        .collect();
    let told = told(Request { set: &set, ..Request::default() });
    assert!(told.lines().count() == 8 && told.ends_with("\nand 2 more"), "{told}");
}

#[test]
fn the_configuration_of_a_run_is_read_again() {
    let (one, orders) = (["moelora".to_string()], ["random:2".to_string()]);
    let set = ["tasks.gqa.instruction=\"none\"".to_string(), "training.epochs=0.5".to_string()];
    for request in [
        Request::default(),
        // Joint training follows a method that is not part of the run.
        Request { methods: &one, orders: &orders, seeds: &[0, 7], set: &set, ..Request::default() },
    ] {
        let config = with(request);
        let text = toml::to_string(&config).unwrap();
        assert_eq!(load_text(&text, Request::default()).unwrap().config, config);
    }
    let wrong = "references = [{ kind = \"joint\", method = \"lora\", stack = [] }]\n";
    let fault = load_text(&format!("{wrong}{RUN}"), Request::default()).unwrap_err().to_string();
    assert!(fault.contains("references.0.stack"), "{fault}");
    let mut twice = with(Request::default());
    twice.references.extend(twice.references.clone());
    twice.references[1].method = "moelora".into();
    let fault = load_text(&toml::to_string(&twice).unwrap(), Request::default()).unwrap_err().to_string();
    assert!(fault.contains("`references.1`: a second `joint` reference, of `moelora` beside"), "{fault}");
}

proptest! {
    #[test]
    fn what_is_written_out_reads_back_equal(
        rate in 1e-9f64..1.0, steps in 1usize..100_000, seed in 0u64..u64::MAX / 2, epochs in 0.01f64..50.0, by_steps: bool, lambda in -1e6f64..1e6,
    ) {
        let mut config = load(&Request::default()).unwrap().config;
        config.training.learning_rate = rate;
        config.training.steps = by_steps.then_some(steps);
        config.training.epochs = (!by_steps).then_some(epochs);
        config.seeds = vec![seed];
        config.methods[3].1.stack[1].config.insert("lambda".into(), lambda.into());
        let json = serde_json::to_string(&config).unwrap();
        prop_assert_eq!(&serde_json::from_str::<RunConfig>(&json).unwrap(), &config);
        let text = toml::to_string(&config).unwrap();
        prop_assert_eq!(&toml_edit::de::from_str::<RunConfig>(&text).unwrap(), &config);
    }

    #[test]
    fn no_text_brings_the_reader_down(text in "\\PC{0,60}", set in "\\PC{0,30}") {
        let mut tree = match tree::Tree::parse(&text, "run.toml") {
            Ok(tree) => tree,
            Err(fault) => {
                prop_assert!(fault.to_string().starts_with("run.toml:"));
                return Ok(());
            }
        };
        if let Ok(over) = overrides::Override::parse(&set) {
            let _ = over.apply(&mut tree);
        }
        let _ = check::check(&tree);
    }
}
