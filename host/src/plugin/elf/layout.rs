//! Whether segments and sections of a library tell the same story. The dynamic linker believes the segments alone; two tables that
//! linkers write together and that agree are a file as it was linked.

use super::{COPY_AGAIN, File};

const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const INTERPRETER: u32 = 3;
const THREAD_LOCAL: u32 = 7;
const STACK: u32 = 0x6474_e551;

const EXECUTE: u32 = 1;
const WRITE: u32 = 2;
const READ: u32 = 4;

const SECTION_STRINGS: u32 = 3;
const SECTION_RELOCATIONS: u32 = 4;
/// Kinds that say something by their `info`: relocations, symbols, groups, versions.
const WITH_INFO: [u32; 7] = [2, 4, 9, 11, 17, 0x6fff_fffd, 0x6fff_fffe];
/// What the standard, the system and the processor give a meaning.
const SECTION_FLAGS: u64 = 0xfff0_0ff7;
const LARGEST_ENTRY: u64 = 64;

const SECTION_WRITE: u64 = 1;
const SECTION_ALLOCATED: u64 = 2;
const SECTION_EXECUTE: u64 = 4;
const SECTION_THREAD_LOCAL: u64 = 0x400;

/// The smallest page of the platforms there are.
const PAGE: u64 = 4096;

struct Segment {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    in_file: u64,
    in_memory: u64,
    align: u64,
}

struct Section {
    name: u32,
    kind: u32,
    flags: u64,
    address: u64,
    offset: u64,
    size: u64,
    link: u32,
    info: u32,
    align: u64,
    entry: u64,
}

/// Holds the tables of a library against each other. That they stay within the file is known.
///
/// # Errors
/// In what they disagree, with a hint.
pub(super) fn check(file: &File) -> Result<(), String> {
    let fault = header(file).and_then(|()| {
        let (segments, sections) = tables(file).ok_or("its tables cannot be read")?;
        segments_alone(&segments)?;
        sections_alone(file, &sections)?;
        together(&segments, &sections)
    });
    fault.map_err(|what| format!("damaged: {what}\n{COPY_AGAIN}"))
}

type Checked = Result<(), &'static str>;

fn ensure(holds: bool, what: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(what) }
}

fn header(file: &File) -> Checked {
    let unknown = "its header has values that no linker writes";
    // Version, system (none or GNU), and what is kept free.
    ensure(file.0[6] == 1 && file.u32(20) == Some(1) && matches!(file.0[7], 0 | 3), unknown)?;
    ensure(file.0[8..16].iter().all(|byte| *byte == 0), unknown)?;
    if cfg!(target_arch = "x86_64") {
        ensure(file.u32(48) == Some(0), unknown)?;
    }
    let sizes = (file.u16(52), file.u16(54), file.u16(58));
    ensure(
        sizes == (Some(64), Some(56), Some(64)),
        "its header gives other sizes of headers than there are",
    )?;
    let aligned = |at| file.u64(at).is_some_and(|offset| offset >= 64 && offset % 8 == 0);
    ensure(aligned(32) && aligned(40), "its tables do not stand where linkers put them")
}

fn tables(file: &File) -> Option<(Vec<Segment>, Vec<Section>)> {
    let segment = |index| {
        let entry = file.entry(file.u64(32)?, 56, 56, index)?;
        Some(Segment {
            kind: entry.u32(0)?,
            flags: entry.u32(4)?,
            offset: entry.u64(8)?,
            address: entry.u64(16)?,
            in_file: entry.u64(32)?,
            in_memory: entry.u64(40)?,
            align: entry.u64(48)?,
        })
    };
    let section = |index| {
        let entry = file.entry(file.u64(40)?, 64, 64, index)?;
        Some(Section {
            name: entry.u32(0)?,
            kind: entry.u32(4)?,
            flags: entry.u64(8)?,
            address: entry.u64(16)?,
            offset: entry.u64(24)?,
            size: entry.u64(32)?,
            link: entry.u32(40)?,
            info: entry.u32(44)?,
            align: entry.u64(48)?,
            entry: entry.u64(56)?,
        })
    };
    let segments: Option<Vec<Segment>> = (0..file.u16(56)?).map(segment).collect();
    let sections: Option<Vec<Section>> = (0..file.u16(60)?).map(section).collect();
    Some((segments?, sections?))
}

fn segments_alone(segments: &[Segment]) -> Checked {
    let loads = || segments.iter().filter(|segment| segment.kind == LOAD);
    ensure(loads().next().is_some(), "nothing of it would be loaded")?;
    ensure(segments.iter().all(|segment| segment.kind != INTERPRETER), "it is a program, not a library")?;
    ensure(
        segments.iter().filter(|segment| segment.kind == DYNAMIC).count() == 1,
        "it has no dynamic table, or several",
    )?;
    for segment in segments {
        ensure(segment.flags <= READ | WRITE | EXECUTE, "a segment has permissions that there are none")?;
        ensure(
            segment.align <= 1 || segment.align.is_power_of_two(),
            "a segment is aligned to no power of two",
        )?;
        if segment.kind == STACK {
            ensure(segment.flags & EXECUTE == 0, "it asks for a stack that code can run on")?;
            let is_empty = segment.offset == 0 && segment.address == 0 && segment.in_file == 0;
            ensure(is_empty, "its stack has bytes in the file")?;
            continue;
        }
        ensure(segment.in_file <= segment.in_memory, "a segment is larger in the file than in memory")?;
        let same = segment.align <= 1 || segment.offset % segment.align == segment.address % segment.align;
        ensure(same, "a segment stands at another place in its page than in memory")?;
        let held = loads().any(|load| holds(load, segment.offset, segment.address, segment.in_file));
        ensure(segment.in_file == 0 || held, "a segment would not be loaded where it says")?;
        let end = segment.address.checked_add(segment.in_memory);
        let loaded =
            loads().any(|load| end.is_some_and(|end| end <= load.address.saturating_add(load.in_memory)));
        // What is a thread's own is not loaded where it says.
        ensure(loaded || segment.kind == THREAD_LOCAL, "a segment leads beyond what is loaded")?;
    }
    let mut end = 0;
    for load in loads() {
        ensure(load.align >= PAGE, "a segment is not aligned to a page")?;
        ensure(load.flags & READ != 0, "a segment could not be read")?;
        ensure(load.flags & (WRITE | EXECUTE) != WRITE | EXECUTE, "a segment could be written to and run")?;
        // Whole pages are mapped: of two segments in one page, the later would hide what the tables say of the earlier.
        ensure(load.address - load.address % PAGE >= end, "its segments overlap")?;
        let last =
            load.address.checked_add(load.in_memory).and_then(|end| end.checked_next_multiple_of(PAGE));
        end = last.ok_or("a segment leads beyond all memory")?;
    }
    Ok(())
}

/// Whether a segment has these bytes of the file at these addresses.
fn holds(load: &Segment, offset: u64, address: u64, size: u64) -> bool {
    let within = offset.checked_sub(load.offset);
    within.is_some_and(|within| {
        address.checked_sub(load.address) == Some(within)
            && within.checked_add(size).is_some_and(|end| end <= load.in_file)
    })
}

fn sections_alone(file: &File, sections: &[Section]) -> Checked {
    let first = file.u64(40).and_then(|table| file.range(table, 64));
    ensure(
        first.is_some_and(|first| first.0.iter().all(|byte| *byte == 0)),
        "its first section is not the empty one",
    )?;
    let of_names = file.u16(62).and_then(|index| sections.get(usize::from(index)));
    let names = of_names.filter(|section| section.kind == SECTION_STRINGS);
    let names = names.and_then(|section| file.range(section.offset, section.size));
    let names = names.ok_or("its sections have no names")?;
    for section in sections {
        ensure(names.text(u64::from(section.name)).is_some(), "a section has no name")?;
        ensure((section.link as usize) < sections.len(), "a section belongs to one that is not there")?;
        ensure(
            section.align <= 1 || section.align.is_power_of_two(),
            "a section is aligned to no power of two",
        )?;
        ensure(
            section.align <= 1 || section.address.is_multiple_of(section.align),
            "a section is not aligned",
        )?;
        ensure(section.flags & !SECTION_FLAGS == 0, "a section has flags that there are none")?;
        ensure(
            section.info == 0 || WITH_INFO.contains(&section.kind),
            "a section says more than its kind can",
        )?;
        ensure(section.entry <= LARGEST_ENTRY, "a table has entries of another size")?;
        let of = sections.get(section.link as usize).map_or(0, |section| section.kind);
        let entry = match section.kind {
            super::SECTION_DYNAMIC_SYMBOLS => {
                ensure(u64::from(section.info) <= section.size / 24, "its symbols are not counted right")?;
                ensure(of == SECTION_STRINGS, "its symbols have no names")?;
                24
            }
            SECTION_RELOCATIONS => {
                ensure(
                    (section.info as usize) < sections.len(),
                    "relocations are for a section that is not there",
                )?;
                24
            }
            super::SECTION_DYNAMIC => {
                ensure(of == SECTION_STRINGS, "its dynamic table has no names")?;
                16
            }
            _ => continue,
        };
        ensure(
            section.entry == entry && section.size.is_multiple_of(entry),
            "a table has entries of another size",
        )?;
    }
    Ok(())
}

fn together(segments: &[Segment], sections: &[Section]) -> Checked {
    let loads = || segments.iter().filter(|segment| segment.kind == LOAD);
    let mut used: Vec<u64> = loads().map(|_| 0).collect();
    for section in sections {
        if section.flags & SECTION_ALLOCATED == 0 {
            ensure(section.address == 0, "a section has an address and is not loaded")?;
            continue;
        }
        let is_empty = section.kind == super::SECTION_NO_BITS;
        if section.size == 0 || is_empty && section.flags & SECTION_THREAD_LOCAL != 0 {
            continue;
        }
        let place = loads().position(|load| match is_empty {
            false => holds(load, section.offset, section.address, section.size),
            true => section.address.checked_sub(load.address).is_some_and(|within| {
                within.checked_add(section.size).is_some_and(|end| end <= load.in_memory)
            }),
        });
        let place = place.ok_or("a section would not be loaded where it says")?;
        used[place] |= section.flags;
    }
    for (load, used) in loads().zip(used) {
        let runs = used & SECTION_EXECUTE != 0;
        ensure(
            (load.flags & EXECUTE != 0) == runs,
            "a segment could be run that has no code, or code that could not",
        )?;
        let written = used & SECTION_WRITE != 0;
        ensure(
            (load.flags & WRITE != 0) == written,
            "a segment could be written to that is constant, or the reverse",
        )?;
    }
    let dynamic = segments.iter().find(|segment| segment.kind == DYNAMIC);
    let same = |section: &Section, dynamic: &Segment| {
        (section.offset, section.address, section.size) == (dynamic.offset, dynamic.address, dynamic.in_file)
    };
    let mut listed = sections.iter().filter(|section| section.kind == super::SECTION_DYNAMIC);
    ensure(
        dynamic.is_some_and(|dynamic| listed.any(|section| same(section, dynamic))),
        "its dynamic table is not where its section says",
    )
}
