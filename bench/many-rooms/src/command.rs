//! The text commands: what each asks for, and what is wrong with a text that is none.

use hub::{NameError, RoomName};

/// What a peer asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// To be in a room.
    Join(RoomName),
    /// To be in a room no longer.
    Leave(&'a str),
    /// That all members of this room are sent the command.
    Publish(&'a str),
}

/// Why a message is no command.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCommand {
    /// It is binary.
    #[error("commands are text")]
    NotText,
    /// Its first word is none of the commands.
    #[error("the commands are: join ROOM, leave ROOM, publish ROOM TEXT")]
    Unknown,
    /// The name of the room would not end where the text of a publication begins.
    #[error("a room's name must be one word")]
    NotOneWord,
    /// The name of the room is no name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A publication has a room and nothing else.
    #[error("there is no text to publish")]
    NoText,
}

impl<'a> Command<'a> {
    /// The command that this text is.
    pub fn parse(text: &'a str) -> Result<Self, NoCommand> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "join" if rest.contains(' ') => Err(NoCommand::NotOneWord),
            "join" => Ok(Self::Join(RoomName::new(rest)?)),
            "leave" => Ok(Self::Leave(rest)),
            "publish" => match rest.split_once(' ') {
                Some((room, _)) => Ok(Self::Publish(room)),
                None => Err(NoCommand::NoText),
            },
            _ => Err(NoCommand::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<Command<'_>, NoCommand>) {
        assert_eq!(Command::parse(text), expected);
    }

    #[test]
    fn command_names_its_room() {
        let name = RoomName::new("a").unwrap();
        check("join a", Ok(Command::Join(name)));
        check("leave a", Ok(Command::Leave("a")));
        check("publish a b c", Ok(Command::Publish("a")));
        check("publish a ", Ok(Command::Publish("a")));
    }

    #[test]
    fn text_that_is_no_command_is_refused() {
        for text in ["", "  ", "Join a", "joins a", "subscribe a"] {
            check(text, Err(NoCommand::Unknown));
        }
        check("join a b", Err(NoCommand::NotOneWord));
        check("publish a", Err(NoCommand::NoText));
        check("publish", Err(NoCommand::NoText));
    }

    #[test]
    fn room_that_cannot_have_its_name_is_refused() {
        check("join", Err(NoCommand::Name(NameError::Empty)));
        check("join ", Err(NoCommand::Name(NameError::Empty)));
        let slash = NameError::ForbiddenCharacter;
        check("join a/b", Err(NoCommand::Name(slash)));
        let long = format!("join {}", "x".repeat(256));
        check(&long, Err(NoCommand::Name(NameError::TooLong)));
    }
}
