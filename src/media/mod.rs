//! Files: pictures, voice notes and documents that contacts send, their pictures, and what agents upload. Channels' links expire, so
//! the bytes are fetched once ([`fetch`]), looked at ([`sniff`]), kept in the media store ([`vault`]) and shown through links of our
//! own ([`links`]). Who fetches and tells rooms of it stands above: `rooms::files`.

pub mod fetch;
pub mod links;
pub mod sniff;
pub mod store;
pub mod upload;
pub mod vault;

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::{
    channels::{Attachment, AttachmentKind, Content, FileReason, FileState},
    clock::Moment,
    config::Settings,
    fair::Fair,
    ids::{ContactId, FileId, MessageId, TenantId},
    seal::SealKey,
};

use fetch::Fetch;
use links::Links;
use vault::Vault;

/// Uploads at one time in this process; of one tenant half of them, and less while others upload.
const MOST_UPLOADS: usize = 8;

/// What the verbs and workers of files work with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Media {
    /// Keeps the bytes.
    pub vault: Vault,
    /// Gets them.
    pub fetch: Fetch,
    /// Shows them.
    pub links: Links,
    /// For uploads: each has its file in memory.
    pub hands: Fair<TenantId>,
}

/// The settings do not make a media store, or no client.
#[derive(Debug, thiserror::Error)]
#[error("media: {0}")]
pub struct MediaSetupError(String);

impl Media {
    /// The media store of the settings.
    ///
    /// # Errors
    /// If the store cannot be opened or a host is no host.
    pub fn open(settings: &Settings, seal: &SealKey) -> Result<Self, MediaSetupError> {
        let media = &settings.media;
        let vault = Vault::open(media, &settings.data_dir).map_err(|it| MediaSetupError(it.to_string()))?;
        let most_bytes = usize::try_from(media.max_mib).unwrap_or(1) << 20;
        let patience = Duration::from_secs(media.fetch_s.into());
        // Where the Graph API is, its pretend files are, too.
        let fetch =
            Fetch::new(&media.hosts, &settings.graph.base_url, most_bytes, patience).map_err(MediaSetupError)?;
        let hours = chrono::TimeDelta::hours(media.link_hours.into());
        let links = Links::new(seal, &settings.public_url(), hours);
        Ok(Self { vault, fetch, links, hands: Fair::of(MOST_UPLOADS) })
    }
}

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The attachment of that number of a message.
    Message(MessageId, i32),
    /// The contact whose picture it is.
    Contact(ContactId),
}

/// A file about to be fetched.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct NewFile {
    pub tenant: TenantId,
    pub id: FileId,
    pub owner: Owner,
    pub kind: AttachmentKind,
    pub source_url: String,
    pub name: Option<String>,
}

/// Gives every attachment of a message that is a file its id; returns what is to be fetched. Places and links stay links.
pub fn adopt(tenant: TenantId, message: MessageId, content: &mut Content, now: Moment) -> Vec<NewFile> {
    let Content::Attachments { attachments, .. } = content else { return Vec::new() };
    let mut files = Vec::new();
    for (position, attachment) in (0..).zip(attachments) {
        if !is_file(attachment.kind) {
            continue;
        }
        let id = FileId::fresh(now);
        attachment.id = Some(id.0);
        match &attachment.url {
            Some(url) => {
                attachment.state = Some(FileState::Pending);
                files.push(NewFile {
                    tenant,
                    id,
                    owner: Owner::Message(message, position),
                    kind: attachment.kind,
                    source_url: url.clone(),
                    name: attachment.name.clone(),
                });
            }
            None => {
                attachment.state = Some(FileState::Failed);
                attachment.reason = Some(FileReason::Unavailable);
            }
        }
    }
    files
}

/// Whether the bytes of such an attachment are kept.
#[must_use]
pub fn is_file(kind: AttachmentKind) -> bool {
    use AttachmentKind::{Audio, File, Image, Sticker, Video};
    matches!(kind, Image | Video | Audio | File | Sticker)
}

/// Names what a channel would keep: the same kind, name and bytes need not be sent to it twice.
#[must_use]
pub fn digest(kind: AttachmentKind, name: Option<&str>, bytes: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [kind.as_str().as_bytes(), name.unwrap_or_default().as_bytes()] {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hash.update(bytes);
    hash.finalize().into()
}

/// A stored file as an attachment of a message, without its link.
#[must_use]
pub fn attachment(file: &store::Stored) -> Attachment {
    Attachment {
        kind: file.kind,
        id: Some(file.id.0),
        state: Some(FileState::Stored),
        name: file.name.clone(),
        mime: Some(file.mime.clone()),
        size: u64::try_from(file.size).ok(),
        ..<_>::default()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn files_are_adopted_and_links_are_not() {
        let of = |kind, url: Option<&str>| Attachment { kind, url: url.map(str::to_owned), ..<_>::default() };
        let mut content = Content::Attachments {
            text: None,
            attachments: vec![
                of(AttachmentKind::Link, Some("https://a.example/")),
                of(AttachmentKind::Image, Some("https://scontent.xx.fbcdn.net/1")),
                of(AttachmentKind::Location, None),
                of(AttachmentKind::Audio, None),
            ],
        };
        let tenant = TenantId(Uuid::from_u128(1));
        let files = adopt(tenant, MessageId(Uuid::from_u128(2)), &mut content, Moment::UNIX_EPOCH);
        assert_eq!(
            files.iter().map(|it| it.owner).collect::<Vec<_>>(),
            [Owner::Message(MessageId(Uuid::from_u128(2)), 1)]
        );
        let Content::Attachments { attachments, .. } = content else { unreachable!() };
        let states: Vec<_> = attachments.iter().map(|it| (it.id.is_some(), it.state)).collect();
        assert_eq!(
            states,
            [(false, None), (true, Some(FileState::Pending)), (false, None), (true, Some(FileState::Failed))]
        );
    }
}
