// What htmx leaves to do. No page needs more than this file; nothing here decides anything.
"use strict";
