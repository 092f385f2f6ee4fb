// The list of Pages and people, and beside it the chat of whoever the address names; both live by one stream.

import { showChat, drawChat } from "./chat.js";
import { drawList } from "./list.js";
import { notice } from "./common.js";

const [, where, page, psid] = location.pathname.split("/");
const isChat = where === "chat";
document.body.className = isChat ? "is-chat" : "is-list";
if (isChat) showChat(`/api/chats/${page}/${psid}`);

const stream = new EventSource(isChat ? `/api/stream?${new URLSearchParams({ page, psid })}` : "/api/stream");
stream.addEventListener("pages", (event) => drawList(JSON.parse(event.data), psid));
stream.addEventListener("chat", (event) => drawChat(JSON.parse(event.data)));
stream.onopen = () => notice("");
stream.onerror = () => notice(stream.readyState === EventSource.CLOSED ? "There is no such chat." : "Reconnecting…");
