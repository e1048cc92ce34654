// Puts what the page needs into dist/, from where the app's build takes it.
import { cpSync, mkdirSync } from 'node:fs';

mkdirSync('dist', { recursive: true });
for (const file of ['swagger-ui-bundle.js', 'swagger-ui-bundle.js.LICENSE.txt', 'swagger-ui.css', 'LICENSE', 'NOTICE'])
  cpSync(`node_modules/swagger-ui-dist/${file}`, `dist/${file}`);
for (const file of ['index.html', 'docs.js', 'docs.css'])
  cpSync(file, `dist/${file}`);
