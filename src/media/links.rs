//! Links to files: signed, and over after some hours. Nobody needs credentials to follow one, nobody can make one, and what is stored
//! holds none: they are made whenever a resource is shown.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, value::RawValue};
use sha2::Sha256;
use uuid::Uuid;

use crate::{
    channels::Content,
    clock::Moment,
    ids::{FileId, TenantId},
    seal::SealKey,
};

/// Stands in stored resources where a link to the file is to be shown.
const PREFIX: &str = "media:";
/// Tenant, file, end of validity in seconds.
const NAMED_BYTES: usize = 16 + 16 + 8;

/// Makes and reads links.
#[derive(Clone)]
pub struct Links {
    key: [u8; 32],
    base: String,
    lifetime: TimeDelta,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Links(…)")
    }
}

/// Why a link leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLink {
    /// It is not one of ours.
    #[error("no such link")]
    Forged,
    /// It was.
    #[error("the link has expired")]
    Expired,
}

impl Links {
    /// Links below `base` (no slash at its end) that are good for `lifetime`.
    #[must_use]
    pub fn new(seal: &SealKey, base: &str, lifetime: TimeDelta) -> Self {
        Self { key: seal.derive("media links"), base: base.to_owned(), lifetime }
    }

    /// A link to a tenant's file. Its end is rounded up, so that it stays the same for a while and browsers keep what it shows.
    #[must_use]
    pub fn link(&self, tenant: TenantId, file: FileId, now: Moment) -> String {
        let step = (self.lifetime.num_seconds() / 4).max(1);
        let until = ((now + self.lifetime).timestamp() / step + 1) * step;
        let mut bytes = Vec::with_capacity(NAMED_BYTES + 32);
        bytes.extend(tenant.0.as_bytes());
        bytes.extend(file.0.as_bytes());
        bytes.extend(until.to_be_bytes());
        let seal = self.mac(&bytes).finalize().into_bytes();
        bytes.extend(seal);
        format!("{}/media/{}", self.base, URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The file that the last part of a link names, and until when.
    ///
    /// # Errors
    /// [`BadLink`]
    pub fn read(&self, key: &str, now: Moment) -> Result<(TenantId, FileId, Moment), BadLink> {
        let (tenant, file, until) = self.named(key)?;
        if now >= until {
            return Err(BadLink::Expired);
        }
        Ok((tenant, file, until))
    }

    fn named(&self, key: &str) -> Result<(TenantId, FileId, Moment), BadLink> {
        let bytes = URL_SAFE_NO_PAD.decode(key).map_err(|_| BadLink::Forged)?;
        let (named, seal) = bytes.split_at_checked(NAMED_BYTES).ok_or(BadLink::Forged)?;
        self.mac(named).verify_slice(seal).map_err(|_| BadLink::Forged)?;
        let id = |at: usize| Uuid::from_slice(&named[at..at + 16]).map_err(|_| BadLink::Forged);
        let until = named[32..].try_into().map(i64::from_be_bytes).map_err(|_| BadLink::Forged)?;
        let until = Moment::from_timestamp(until, 0).ok_or(BadLink::Forged)?;
        Ok((TenantId(id(0)?), FileId(id(16)?), until))
    }

    /// Puts ids in the place of links of ours, in content that a caller wants sent: an upload may be given back as it was shown.
    pub fn name_files(&self, content: &mut Content) {
        let Content::Attachments { attachments, .. } = content else { return };
        for it in attachments {
            let key = it.url.as_deref().and_then(|url| url.strip_prefix(&self.base)?.strip_prefix("/media/"));
            let Some((_, file, _)) = key.and_then(|key| self.named(key).ok()) else { continue };
            if it.id.is_none_or(|id| id == file.0) {
                (it.id, it.url, it.state) = (Some(file.0), None, None);
            }
        }
    }

    fn mac(&self, named: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(named);
        mac
    }

    /// Puts links into a resource about to be shown: a message's stored attachments, a room's or contact's picture.
    pub fn show(&self, tenant: TenantId, resource: &mut Value, now: Moment) {
        if let Some(attachments) = resource.pointer_mut("/content/attachments").and_then(Value::as_array_mut) {
            for it in attachments.iter_mut().filter(|it| it["state"] == "stored") {
                let id = it["id"].as_str().and_then(|id| id.parse().ok()).map(FileId);
                if let (Some(id), Some(members)) = (id, it.as_object_mut()) {
                    members.insert("url".to_owned(), self.link(tenant, id, now).into());
                }
            }
        }
        for place in ["/picture_url", "/contact/picture_url"] {
            if let Some(url) = resource.pointer_mut(place)
                && let Some(shown) = url.as_str().map(str::to_owned)
            {
                *url = self.picture(tenant, Some(&shown), now).into();
            }
        }
    }

    /// The same for a resource that is text. None if there is nothing to put in, as in most events.
    #[must_use]
    pub fn show_in(&self, tenant: TenantId, resource: &RawValue, now: Moment) -> Option<Box<RawValue>> {
        if !["\"attachments\"", "\"picture_url\": \"", "\"picture_url\":\""]
            .iter()
            .any(|it| resource.get().contains(it))
        {
            return None;
        }
        let mut resource = serde_json::from_str(resource.get()).ok()?;
        self.show(tenant, &mut resource, now);
        serde_json::value::to_raw_value(&resource).ok()
    }

    /// The link to a contact's picture.
    #[must_use]
    pub fn picture(&self, tenant: TenantId, stored: Option<&str>, now: Moment) -> Option<String> {
        let id = stored?.strip_prefix(PREFIX)?.parse().ok()?;
        Some(self.link(tenant, FileId(id), now))
    }
}

/// What is stored where a link to the file is to be shown.
#[must_use]
pub fn stored(file: FileId) -> String {
    format!("{PREFIX}{file}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn links() -> Links {
        let seal = SealKey::parse(&SealKey::generate()).unwrap();
        Links::new(&seal, "https://chat.example", TimeDelta::hours(24))
    }

    fn key_of(link: &str) -> &str {
        link.strip_prefix("https://chat.example/media/").unwrap()
    }

    fn hour(hours: i64) -> Moment {
        Moment::UNIX_EPOCH + TimeDelta::hours(hours)
    }

    #[test]
    fn a_link_names_its_file_until_it_ends_and_cannot_be_changed() {
        let (links, tenant, file) = (links(), TenantId(Uuid::from_u128(1)), FileId(Uuid::from_u128(2)));
        let link = links.link(tenant, file, hour(1000));
        assert_eq!(link, links.link(tenant, file, hour(1001)), "the same for a while");
        let key = key_of(&link);
        assert!(matches!(links.read(key, hour(1024)), Ok((t, f, _)) if t == tenant && f == file));
        assert_eq!(links.read(key, hour(1030)), Err(BadLink::Expired));
        assert_eq!(super::tests::links().read(key, hour(1000)), Err(BadLink::Forged), "another seal key");
        let bytes = URL_SAFE_NO_PAD.decode(key).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(links.read(&URL_SAFE_NO_PAD.encode(changed), hour(1000)), Err(BadLink::Forged), "byte {at}");
        }
        for odd in ["", "x", "AAAA", &key[..40], &format!("{key}AA")] {
            assert_eq!(links.read(odd, hour(1000)), Err(BadLink::Forged), "{odd}");
        }
    }

    #[test]
    fn an_upload_may_be_given_back_as_it_was_shown() {
        let (links, file) = (links(), FileId(Uuid::from_u128(2)));
        let link = links.link(TenantId(Uuid::from_u128(1)), file, hour(1));
        let other = Uuid::from_u128(3);
        let named = |attachment: Value| {
            let content = json!({"kind": "attachments", "attachments": [attachment]});
            let mut content: Content = serde_json::from_value(content).unwrap();
            links.name_files(&mut content);
            json!(content)["attachments"][0].clone()
        };
        let expected = json!({"type": "image", "id": file});
        assert_eq!(named(json!({"type": "image", "url": link})), expected);
        assert_eq!(named(json!({"type": "image", "id": file, "state": "stored", "url": link})), expected);
        for as_it_is in [
            json!({"type": "image", "id": other, "url": link}),
            json!({"type": "image", "url": format!("{link}A")}),
            json!({"type": "image", "url": "https://a.example/media/x"}),
        ] {
            assert_eq!(named(as_it_is.clone()), as_it_is);
        }
    }

    #[test]
    fn only_what_we_keep_is_shown_by_link() {
        let (links, tenant) = (links(), TenantId(Uuid::from_u128(1)));
        let file = FileId(Uuid::from_u128(2));
        let mut message = json!({"content": {"kind": "attachments", "attachments": [
            {"type": "image", "id": file, "state": "stored"},
            {"type": "image", "id": file, "state": "pending", "url": "https://cdn.example/1"},
            {"type": "link", "url": format!("media:{file}")},
        ]}});
        links.show(tenant, &mut message, hour(1));
        let url = |at: usize| message["content"]["attachments"][at]["url"].as_str().unwrap().to_owned();
        assert_eq!(links.read(key_of(&url(0)), hour(1)).unwrap().1, file);
        assert_eq!(url(1), "https://cdn.example/1");
        assert_eq!(url(2), format!("media:{file}"), "what a contact typed is not signed");
        let mut room = json!({"contact": {"picture_url": stored(file)}});
        links.show(tenant, &mut room, hour(1));
        assert!(room["contact"]["picture_url"].as_str().unwrap().starts_with("https://chat.example/media/"));
        let mut contact = json!({"picture_url": "https://elsewhere.example/"});
        links.show(tenant, &mut contact, hour(1));
        assert_eq!(contact["picture_url"], Value::Null);
    }
}
