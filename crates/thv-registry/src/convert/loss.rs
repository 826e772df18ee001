//! What a typed reading of an entry did not keep, found by comparing it with the original.

use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::format::lenient::same_key;

/// Members that an older version of the outdated format had and that nobody has read since.
const RETIRED: [&str; 1] = ["pulls"];

/// The paths of the original's members that `kept` does not hold, in order; values that say nothing do not count.
pub(super) fn lost_members(original: &RawValue, kept: &impl Serialize) -> Vec<String> {
    let mut lost = Vec::new();
    match (
        serde_json::from_str(original.get()),
        serde_json::to_value(kept),
    ) {
        (Ok(original), Ok(kept)) => compare(&original, &kept, "", &mut lost),
        _ => lost.push("some (the entry cannot be decoded as a whole)".to_owned()),
    }
    lost
}

fn compare(original: &Value, kept: &Value, path: &str, lost: &mut Vec<String>) {
    match (original, kept) {
        (Value::Object(original), Value::Object(kept)) => {
            for (key, value) in original {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                let twin = kept.get(key).or_else(|| {
                    kept.iter()
                        .find(|(other, _)| same_key(key, other))
                        .map(|(_, value)| value)
                });
                match twin {
                    Some(twin) => compare(value, twin, &path, lost),
                    None if says_nothing(value) || RETIRED.contains(&key.as_str()) => {}
                    None => lost.push(path),
                }
            }
        }
        (Value::Array(original), Value::Array(kept)) if original.len() == kept.len() => {
            for (index, (original, kept)) in original.iter().zip(kept).enumerate() {
                compare(original, kept, &format!("{path}[{index}]"), lost);
            }
        }
        (original, kept) if is_same(original, kept) || says_nothing(original) => {}
        _ => lost.push(path.to_owned()),
    }
}

/// Equal, a whole number however it is written.
fn is_same(original: &Value, kept: &Value) -> bool {
    original == kept || (original.is_number() && original.as_f64() == kept.as_f64())
}

/// Absent and this are the same to every reader.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty(),
        Value::Array(value) => value.is_empty(),
        Value::Object(value) => value.is_empty(),
    }
}
