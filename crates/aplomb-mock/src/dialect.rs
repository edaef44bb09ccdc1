//! Answers in the words of the API that was asked.

use std::time::SystemTime;

use bytes::Bytes;

use crate::answer::Content;
use crate::api::{Api, Ask, Events, Headers, Origin, Problem, Reply};
use crate::hints::Hints;
use crate::limit::Levels;
use crate::{anthropic, embeddings, openai, responses};

impl Api {
    pub(crate) fn problem(self, problem: &Problem, hints: Hints, origin: &Origin) -> Reply {
        match self {
            Self::Anthropic => anthropic::problem(problem, hints, origin),
            _ => openai::problem(problem, hints),
        }
    }

    pub(crate) fn levels(self, levels: &Levels, date: SystemTime, headers: &mut Headers) {
        match self {
            Self::Anthropic => anthropic::levels(levels, date, headers),
            _ => openai::levels(levels, headers),
        }
    }

    pub(crate) fn whole(self, ask: &Ask, answer: &Content, origin: &Origin) -> Bytes {
        match self {
            Self::OpenAi => openai::whole(ask, answer, origin),
            Self::Responses => responses::whole(ask, answer, origin),
            Self::Embeddings => embeddings::whole(ask, answer),
            Self::Anthropic => anthropic::whole(ask, answer, origin),
        }
    }

    pub(crate) fn events(self, ask: &Ask, answer: &Content, origin: &Origin) -> Events {
        match self {
            Self::OpenAi => openai::events(ask, answer, origin),
            // A request for embeddings never asks for a stream.
            Self::Responses | Self::Embeddings => responses::events(ask, answer, origin),
            Self::Anthropic => anthropic::events(ask, answer, origin),
        }
    }
}
