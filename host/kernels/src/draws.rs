//! Random numbers by the million (SplitMix64, Steele et al. 2014: a counter passed through a mixing function).

/// What the counter goes up by with each draw.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// The next 64 random bits after `state`, which goes on by one draw.
#[inline]
pub fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(STEP);
    let mut bits = *state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// The state after `count` more draws.
#[inline]
pub fn after(state: u64, count: u64) -> u64 {
    state.wrapping_add(STEP.wrapping_mul(count))
}

/// Fills `values`, which begin at the even number `first` of a sequence, with uniform numbers in `[0, 1)`.
pub fn uniform(seed: u64, first: usize, values: &mut [f32]) {
    fill(seed, first, values, |bits| (bits >> 8) as f32 / (1 << 24) as f32);
}

/// Fills `values`, which begin at the even number `first` of a sequence, with zero where 32 random bits are less than `below` and with
/// `scale` elsewhere.
pub fn dropout_mask(seed: u64, first: usize, values: &mut [f32], below: u32, scale: f32) {
    fill(seed, first, values, |bits| if bits < below { 0.0 } else { scale });
}

/// Each draw of 64 bits serves two numbers.
#[inline(always)]
fn fill(seed: u64, first: usize, values: &mut [f32], value: impl Fn(u32) -> f32) {
    debug_assert!(first.is_multiple_of(2), "two numbers share a draw");
    let mut state = after(seed, first as u64 / 2);
    let (pairs, last) = values.as_chunks_mut::<2>();
    for pair in pairs {
        let bits = next(&mut state);
        *pair = [value((bits >> 32) as u32), value(bits as u32)];
    }
    if let [last] = last {
        *last = value((next(&mut state) >> 32) as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_holds_what_the_whole_holds_there() {
        let mut whole = [0.0; 101];
        uniform(9, 0, &mut whole);
        let mut part = [0.0; 61];
        uniform(9, 40, &mut part);
        assert_eq!(part, whole[40..]);
        let mut mask = [0.0; 101];
        dropout_mask(9, 0, &mut mask, 1 << 31, 2.0);
        let expected = whole.map(|value| if value < 0.5 { 0.0 } else { 2.0 });
        assert_eq!(mask, expected);
    }

    #[test]
    fn the_sequence_is_that_of_the_paper() {
        // The first numbers of seed 1234567, as the authors' own program prints them.
        let mut state = 1_234_567;
        assert_eq!(
            [next(&mut state), next(&mut state)],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]
        );
        assert_eq!(after(1_234_567, 2), state);
    }
}
