//! A host of the grown border that loads a plugin of today's: what a later coin-host does with a library that was built years before.
//! Takes the path of the library, prints what it found; for the tests of the border's growth.

use std::path::Path;

use abi_stable::library::lib_header_from_path;
use coin_plugin_api::Error;
use coin_plugin_api::abi::{API_VERSION, Context, load};
use coin_plugin_api::testing::{Recording, recording_host};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("the path of a library is missing")?;
    let (module, age) = load::check(lib_header_from_path(Path::new(&path))?)?;
    let description = module.describe()().into_result().map_err(Error::from)?;

    // The recording host of this program is what the plugin calls.
    let recording = Recording::start();
    recording.add_site("language_model.model.layers.0.self_attn.q_proj", 3, 4);
    module.attach()(recording_host()).into_result().map_err(Error::from)?;
    let method = module.build_method()("".into(), Context(0)).into_result().map_err(Error::from)?;
    let registered = recording.parameters().all()?.len();
    let mut strategy = method.strategy.into_option().ok_or("the plugin has no strategy")?;
    let rest = strategy.growth_rest().into_result().map_err(Error::from)?;

    let mut report = format!("host {API_VERSION}, plugin {}: {age:?}\n", module.api_version());
    report.push_str(&format!(
        "{registered} tensors registered, a hook it does not have gives {rest}\n{description}"
    ));
    std::io::Write::write_all(&mut std::io::stdout(), report.as_bytes())?;
    Ok(())
}
