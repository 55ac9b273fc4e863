//! Which slots a full buffer gives up and which samples it takes, as arithmetic on places.

use std::collections::BTreeMap;

/// What a stage changes in the buffer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Slots to empty.
    pub(crate) remove: Vec<u64>,
    /// Places among the stage's samples to keep.
    pub(crate) add: Vec<usize>,
}

/// The reservoir after `fresh` more samples: a uniform choice of `capacity` among the `seen` old ones and the fresh ones. `order` is a
/// random order of all `seen + fresh` of them, old ones first; `slots` are filled and in random order.
///
/// With a capacity that stays this has the distribution of algorithm R (Vitter 1985), which keeps sample `n` with probability
/// `capacity / n` in place of a random one. With a capacity that grows from stage to stage it comes as close to uniform as the samples
/// that are left allow.
pub(crate) fn reservoir(slots: &[u64], seen: usize, capacity: usize, order: &[usize]) -> Change {
    let (mut kept, mut change) = (0, Change::default());
    for place in order {
        if kept + change.add.len() == capacity {
            break;
        }
        if *place >= seen {
            change.add.push(place - seen);
        } else if kept < slots.len() {
            kept += 1;
        }
    }
    change.remove.extend(&slots[kept..]);
    change.add.sort_unstable();
    change
}

/// The even choice after another stage: each stage holds its share of `capacity`, the first ones one more where it does not divide.
/// `slots` are filled and in random order, `stages` says where each is from, `order` is a random order of the stage's samples.
pub(crate) fn even(
    slots: &[u64],
    stages: &BTreeMap<u64, usize>,
    stage: usize,
    capacity: usize,
    order: &[usize],
) -> Change {
    let share = |stage_of: usize| capacity / (stage + 1) + usize::from(stage_of < capacity % (stage + 1));
    let mut kept = vec![0; stage];
    let mut change = Change::default();
    for slot in slots {
        match stages.get(slot) {
            Some(&old) if old < stage && kept[old] < share(old) => kept[old] += 1,
            _ => change.remove.push(*slot),
        }
    }
    change.add.extend(order.iter().take(share(stage)));
    change.add.sort_unstable();
    change
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A random order of `0..size`, by a generator of its own.
    fn order(size: usize, state: &mut u64) -> Vec<usize> {
        let mut keys: Vec<(u64, usize)> = (0..size)
            .map(|place| {
                *state =
                    state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (*state >> 20, place)
            })
            .collect();
        keys.sort_unstable();
        keys.into_iter().map(|(_, place)| place).collect()
    }

    #[test]
    fn a_reservoir_keeps_every_sample_with_the_same_probability() {
        let (sizes, capacity, runs) = ([5, 10, 25], 6, 20_000);
        let mut state = 1;
        let mut counts = [0usize; 40];
        for _ in 0..runs {
            let (mut held, mut seen) = (Vec::<u64>::new(), 0);
            for size in sizes {
                let turned: Vec<u64> =
                    order(held.len(), &mut state).into_iter().map(|place| held[place]).collect();
                let change = reservoir(&turned, seen, capacity, &order(seen + size, &mut state));
                held.retain(|slot| !change.remove.contains(slot));
                held.extend(change.add.iter().map(|place| (seen + place) as u64));
                seen += size;
                assert_eq!(held.len(), capacity.min(seen));
            }
            for sample in held {
                counts[sample as usize] += 1;
            }
        }
        let expected = runs * capacity / 40;
        assert!(counts.iter().all(|count| count.abs_diff(expected) < expected / 10), "{counts:?}");
    }

    #[test]
    fn a_reservoir_that_grows_is_always_full() {
        let mut state = 7;
        let change = reservoir(&[3, 1], 100, 4, &order(110, &mut state));
        assert_eq!(change.add.len() + 2 - change.remove.len(), 4);
        let change = reservoir(&[], 0, 4, &[2, 0, 1]);
        assert_eq!(change, Change { remove: vec![], add: vec![0, 1, 2] });
    }

    #[test]
    fn an_even_choice_gives_each_stage_its_share() {
        let stages = BTreeMap::from([(0, 0), (1, 0), (2, 0), (3, 1), (4, 1)]);
        let change = even(&[4, 2, 0, 3, 1], &stages, 2, 5, &[9, 4, 7]);
        assert_eq!(change, Change { remove: vec![1], add: vec![9] });
        let change = even(&[4, 2, 0, 3, 1], &stages, 2, 9, &[9, 4, 7, 1]);
        assert_eq!(change, Change { remove: vec![], add: vec![4, 7, 9] });
    }
}
