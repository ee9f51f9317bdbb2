//! Where a reader is: the configured region that is near them, a pure function of what the platform says of them.
//!
//! Regions go by the names of the platform's location hints, which are also where their objects are placed.

use shared::link::Region;

/// The platform's location hints, and where they are: continent, and longitude in degrees east.
const HINTS: [(&str, &str, f64); 9] = [
    ("wnam", "NA", -120.0),
    ("enam", "NA", -77.0),
    ("sam", "SA", -47.0),
    ("weur", "EU", 2.0),
    ("eeur", "EU", 21.0),
    ("apac", "AS", 110.0),
    ("oc", "OC", 151.0),
    ("afr", "AF", 28.0),
    ("me", "AS", 55.0),
];

/// For readers on each continent, whose longitude is not known, the hint that is nearest to most of them.
const CONTINENTS: [(&str, &str); 7] =
    [("NA", "enam"), ("SA", "sam"), ("EU", "weur"), ("AS", "apac"), ("OC", "oc"), ("AF", "afr"), ("AN", "sam")];

/// Whether the platform knows a place of this name.
#[must_use]
pub fn is_hint(name: &str) -> bool {
    HINTS.iter().any(|(hint, ..)| *hint == name)
}

/// The one of `regions` that is near a reader on `continent` (two letters) at `longitude`. The first where nothing is
/// known. `None` only without regions.
#[must_use]
pub fn nearest<'r>(regions: &'r [Region], continent: Option<&str>, longitude: Option<f64>) -> Option<&'r Region> {
    let here = continent.and_then(|continent| hint_of(continent, longitude));
    let Some(here) = here else { return regions.first() };
    let distance = |region: &Region| place(region.as_str()).map_or(f64::MAX, |there| between(here, there));
    regions.iter().min_by(|one, other| distance(one).total_cmp(&distance(other)))
}

/// The hint of a place: on its continent the one whose longitude is next.
fn hint_of(continent: &str, longitude: Option<f64>) -> Option<&'static str> {
    let usual = CONTINENTS.iter().find(|(known, _)| *known == continent).map(|(_, hint)| *hint);
    let Some(longitude) = longitude.filter(|longitude| longitude.is_finite()) else { return usual };
    let near = HINTS.iter().filter(|(_, on, _)| *on == continent);
    let away = |east: f64| (longitude - east).abs();
    let next = near.min_by(|(_, _, one), (_, _, other)| away(*one).total_cmp(&away(*other)));
    next.map(|(hint, ..)| *hint).or(usual)
}

fn place(hint: &str) -> Option<usize> {
    HINTS.iter().position(|(known, ..)| *known == hint)
}

/// How far apart two hints are, in milliseconds of a round trip, roughly: where cables lie, not as the crow flies.
fn between(one: &str, there: usize) -> f64 {
    const MILLIS: [[u16; 9]; 9] = [
        // wnam enam sam weur eeur apac oc afr me
        [0, 65, 180, 140, 165, 150, 140, 280, 240],
        [65, 0, 120, 80, 105, 215, 200, 225, 180],
        [180, 120, 0, 190, 215, 330, 310, 340, 290],
        [140, 80, 190, 0, 30, 170, 260, 150, 110],
        [165, 105, 215, 30, 0, 180, 280, 160, 100],
        [150, 215, 330, 170, 180, 0, 95, 260, 100],
        [140, 200, 310, 260, 280, 95, 0, 350, 180],
        [280, 225, 340, 150, 160, 260, 350, 0, 170],
        [240, 180, 290, 110, 100, 100, 180, 170, 0],
    ];
    let row = place(one).and_then(|here| MILLIS.get(here));
    row.and_then(|row| row.get(there)).map_or(f64::MAX, |millis| f64::from(*millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions(names: &[&str]) -> Vec<Region> {
        names.iter().map(|name| Region::parse(name).unwrap()).collect()
    }

    #[test]
    fn readers_are_sent_to_the_nearest_of_the_regions_there_are() {
        let all = ["wnam", "enam", "sam", "weur", "eeur", "apac", "oc", "afr", "me"];
        let three = ["enam", "weur", "apac"];
        for (continent, longitude, of_all, of_three) in [
            ("NA", Some(-122.4), "wnam", "enam"),
            ("NA", Some(-74.0), "enam", "enam"),
            ("NA", None, "enam", "enam"),
            ("SA", Some(-58.4), "sam", "enam"),
            ("EU", Some(-0.1), "weur", "weur"),
            ("EU", Some(30.5), "eeur", "weur"),
            ("AS", Some(51.4), "me", "apac"),
            ("AS", Some(139.7), "apac", "apac"),
            ("OC", Some(174.8), "oc", "apac"),
            ("AF", Some(3.4), "afr", "weur"),
            ("AN", Some(0.0), "sam", "enam"),
            ("T1", None, "wnam", "enam"),
            ("EU", Some(f64::NAN), "weur", "weur"),
        ] {
            let name = |regions: &[Region]| nearest(regions, Some(continent), longitude).unwrap().to_string();
            assert_eq!(name(&regions(&all)), of_all, "{continent} {longitude:?}");
            assert_eq!(name(&regions(&three)), of_three, "{continent} {longitude:?}");
        }
        assert_eq!(nearest(&regions(&["apac", "weur"]), None, Some(2.0)).unwrap().as_str(), "apac");
        assert_eq!(nearest(&regions(&["local"]), Some("EU"), None).unwrap().as_str(), "local");
        assert!(nearest(&[], Some("EU"), None).is_none());
    }

    #[test]
    fn distances_are_the_same_both_ways() {
        for (one, ..) in HINTS {
            for (other, ..) in HINTS {
                let (there, back) = (between(one, place(other).unwrap()), between(other, place(one).unwrap()));
                assert!((there - back).abs() < 0.1, "{one} {other}");
            }
        }
    }
}
