//! Which changes an HTML form could have sent (W37): a page of any origin may POST a form's
//! content types without asking leave first, so no POST is taken in one of them. Other methods
//! need a preflight, which is never granted; they pass, since `curl -X PUT -d` sends a form's
//! content type too. So does a request without a content type; the desktop client sends such.

use http::request::Parts;
use http::{Method, header};

use crate::error::Problem;

/// The content types that a page may send anywhere without a preflight (Fetch standard,
/// "CORS-safelisted request-header").
const FORM_TYPES: [&str; 3] = [
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
];

/// Refuses a POST that comes in a form's content type.
pub(super) fn check(head: &Parts) -> Result<(), Problem> {
    if head.method != Method::POST {
        return Ok(());
    }
    let from_form = head
        .headers
        .get_all(header::CONTENT_TYPE)
        .iter()
        .filter_map(|value| value.to_str().ok()?.split(';').next())
        .any(|media_type| {
            FORM_TYPES
                .iter()
                .any(|form| media_type.trim().eq_ignore_ascii_case(form))
        });
    if from_form {
        return Err(Problem::form_refused());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn passes(method: Method, content_type: Option<&str>) -> bool {
        let mut request = Request::builder().method(method);
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        check(&request.body(()).unwrap().into_parts().0).is_ok()
    }

    #[test]
    fn w37_changes_do_not_come_in_a_forms_content_type() {
        for form in [
            "text/plain",
            "Text/Plain; charset=utf-8",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
        ] {
            assert!(!passes(Method::POST, Some(form)), "{form}");
            assert!(passes(Method::PUT, Some(form)), "{form}");
            assert!(passes(Method::GET, Some(form)), "{form}");
        }
        for other in [
            None,
            Some("application/json"),
            Some("Application/JSON; charset=utf-8"),
            Some("application/octet-stream"),
        ] {
            assert!(passes(Method::POST, other), "{other:?}");
        }
    }
}
